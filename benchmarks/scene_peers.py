"""Other tools on the zoo's detector and segmenter: ONNX Runtime's `quantize_static`, and NNCF in its own environment.

Each as a user first calls it, and again with the head's arithmetic left in float where there is any, as the advice of
either on detectors is: `nodes_to_exclude`, and NNCF's `ignored_scope` of the post-processing.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import static_quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from peer_process import run_peer
from peer_tools.heads import behind_layers

from genq_export.config.build import BuildConfig
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network.outputs import INPUT
from runtime_tests.verify.float_baseline import export_float

Made = tuple[Path, str]  # a file, and what there is to say of it
Maker = Callable[[Path, BuildConfig, LoadedModel, list[Path]], Made]
_MINUTES = 60


def makers(float_file: Path, peers_python: Path | None) -> dict[str, Maker]:
    """By the tool's name. float_file: of the network; peers_python: of the environment of `peer_tools/`, for NNCF."""
    heads = {"": False, ", head in float": True} if behind_layers(float_file) else {"": False}
    found: dict[str, Maker] = {f"quantize_static{name}": partial(_static, head) for name, head in heads.items()}
    if peers_python is not None:
        found |= {f"NNCF{name}": partial(_nncf, peers_python, head) for name, head in heads.items()}
    return found


def _static(head_in_float: bool, folder: Path, _config: BuildConfig, model: LoadedModel, images: list[Path]) -> Made:
    """MinMax, as ONNX Runtime's documentation advises for x86 with VNNI."""
    folder.mkdir()
    float_file, prepared, file = (folder / name for name in ("float.onnx", "prepared.onnx", "model.onnx"))
    export_float(model, float_file)
    quant_pre_process(str(float_file), str(prepared), skip_symbolic_shape=True)
    images_one_by_one = (load_images([path], model).numpy() for path in images)
    excluded = behind_layers(prepared) if head_in_float else []
    static_quantization.quantize(prepared, file, images_one_by_one, INPUT, nodes_to_exclude=excluded)
    return file, "QDQ, U8S8, per channel, MinMax"


def _nncf(
    python: Path, head_in_float: bool, folder: Path, _config: BuildConfig, model: LoadedModel, images: list[Path]
) -> Made:
    """`nncf.quantize` with its defaults."""
    folder.mkdir()
    float_file, arrays = folder / "float.onnx", folder / "images.npy"
    export_float(model, float_file)
    np.save(arrays, np.concatenate([load_images([path], model).numpy() for path in images]))
    job = {
        "network": model.name, "float_file": str(float_file.resolve()), "calibration_file": str(arrays.resolve()),
        "judging_file": "", "weight_bits": 8, "activation_bits": 8,
        "settings": {"transformer": False, "head_in_float": head_in_float},
    }  # fmt: skip
    words = str(run_peer(python, "nncf_ptq", folder, job, _MINUTES)["settings"])
    return folder / "model.onnx", words
