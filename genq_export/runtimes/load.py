"""Run a build folder's model on the best runtime present: `genq_export.load("build/…")`."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import UserError, reason_of
from genq_export.core.workspace import Workspace, sha256
from genq_export.runtimes.engine_file import ENGINE_FILE
from genq_export.runtimes.session_options import openvino_settings, session_options

Images = NDArray[np.float32]
RuntimeName = Literal["onnxruntime", "openvino", "tensorrt"]


def load(
    folder: str | Path, threads: int | None = None, runtime: RuntimeName | None = None
) -> Callable[[Images], Images]:
    """A callable from preprocessed images, float32 [N, C, H, W], to logits, float32 [N, classes].

    runtime: None takes the best one here: TensorRT where the build has an engine and this machine a GPU, else ONNX
    Runtime, which computes a file made for TensorRT as it is written, in float. OpenVINO runs as it runs by default:
    fast, but not always the reference's codes (docs/numerics.md). threads: of a CPU runtime; None: all.
    Raises UserError where the folder holds no finished export, its ONNX file is not the one that was exported, the
    runtime refuses it, or the engine is corrupt, of another model, or built for another GPU or version.
    """
    workspace = Workspace.existing(Path(folder))
    path = workspace.path("model.onnx")
    recorded = workspace.output_hashes("export")["model.onnx"]
    if not path.is_file() or sha256(path) != recorded:
        raise UserError(
            f"{path} is missing or not the file that this build exported; run `genq-export export {folder}`"
        )
    chosen = runtime or ("tensorrt" if _engine_can_run(workspace) else "onnxruntime")
    if chosen == "tensorrt":
        from genq_export.runtimes.engine_runtime import load_engine

        return load_engine(workspace.folder)
    if chosen == "openvino":
        return _openvino(path, threads or 0)
    containers = workspace.summary("export").get("storage", {}).get("activations")
    return _onnxruntime(path, threads or 0, as_written=containers == "int8")


def _engine_can_run(workspace: Workspace) -> bool:
    """Is there an engine, a package that runs one, and a GPU? Whether it fits this GPU is `load_engine`'s to say."""
    if not workspace.path(ENGINE_FILE).is_file() or not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")):
        return False
    import torch

    return torch.cuda.is_available()


def _onnxruntime(path: Path, threads: int, as_written: bool) -> Callable[[Images], Images]:
    import onnxruntime

    options = session_options(threads, as_written)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no public base class
        raise UserError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {reason_of(error)}") from None

    def run(images: Images) -> Images:
        (logits,) = session.run(["logits"], {"input": np.ascontiguousarray(images, dtype=np.float32)})
        return np.asarray(logits, dtype=np.float32)

    return run


def _openvino(path: Path, threads: int) -> Callable[[Images], Images]:
    try:
        import openvino
    except ImportError:
        raise UserError("OpenVINO is not installed: pip install 'genq-export[openvino]'") from None
    try:
        model = openvino.Core().compile_model(str(path), "CPU", openvino_settings(threads))
    except Exception as error:  # openvino raises RuntimeError and others
        raise UserError(f"OpenVINO {openvino.__version__} cannot load {path}: {reason_of(error)}") from None

    def run(images: Images) -> Images:
        return np.array(model([np.ascontiguousarray(images, dtype=np.float32)])[0], dtype=np.float32)

    return run
