"""A real small build to verify: the zoo's ResNet on 4-bit grids, ranges only, written by the tests' own emitter."""

import shutil
from pathlib import Path

import pytest

from genq_export.config import BuildConfig
from genq_export.workspace import StageResult, Workspace

MODEL = "fashion_resnet"


def make_build(folder: Path, bits: int = 4) -> None:
    """Quantize and export into `folder` with a manifest as the stages leave it."""
    from export.fold import fold, save_integer_model
    from genq_export import zoo
    from genq_export.models import load_model
    from genq_export.quantize.prepare import calibrate_ranges, prepare
    from genq_export.quantize.reference import save_reference
    from genq_export.targets import rule_for
    from tests.runtime_tests.emit import emit

    config = BuildConfig.for_model(MODEL, bits=bits)
    model = load_model(config.model)
    reference, placement = prepare(model.module, model.input_size, config.quantize, rule_for(config.target))
    pixels, _ = zoo.few_shot_set()
    import torch

    calibrate_ranges(reference, [model.normalize(torch.from_numpy(pixels))])
    workspace = Workspace.open(folder)
    files = save_reference(reference, folder)
    integer = fold(reference)
    files += save_integer_model(integer, folder)
    emit(integer, folder / "model.onnx", model.input_size)
    layers = [part for part in integer.modules() if hasattr(part, "weight_codes")]
    quantized = [
        {"name": str(part.name), "op": str(part.op), "weight_bits": int(part.bits), "input_bits": bits,
         "input_signed": False, "weight_shape": list(part.weight_codes.shape)}
        for part in layers
    ]  # fmt: skip
    workspace.record(
        "quantize", "q", StageResult(files, {"layers": quantized, "unquantized": placement.unquantized}), 1.0
    )
    audit = [{"name": layer["name"], "op": layer["op"], "integer": True, "detail": "QLinear"} for layer in quantized]
    workspace.record("export", "e", StageResult(["model.onnx"], {"audit": audit, "opset": 21, "ir_version": 10}), 1.0)


@pytest.fixture(scope="session")
def pristine_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build that no test may change."""
    folder = tmp_path_factory.mktemp("build") / "resnet"
    make_build(folder)
    return folder


@pytest.fixture
def build_folder(pristine_build: Path, tmp_path: Path) -> Path:
    """A copy of the build, to damage."""
    return Path(shutil.copytree(pristine_build, tmp_path / "build"))
