"""The quantize stage: what decides it, what it applies, and that a device changes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.source import load_model
from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.files import load_reference
from genq_export.quantization import run as work
from genq_export.quantization.prepare import prepare
from genq_export.quantization.stage import QuantizeStage
from genq_export.quantization.summary import QuantizeSummary
from genq_export.targets import rule_for
from genq_export.zoo import few_shot_set

STAGE = QuantizeStage()
ALGORITHMS = "genq_export.quantization.algorithms"


def run(config: BuildConfig, folder: Path, count: int = 24) -> StageResult:
    """Quantize a network of the zoo on a few of its images."""
    folder.mkdir()
    files = []
    for number, pixels in enumerate(few_shot_set()[0][:count]):
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    model = load_model(config.model)
    done = work.run(Workspace(folder), config, model, files, folder / "partial", Progress(quiet=True))
    assert all(part.device.type == "cpu" for part in model.module.state_dict().values())
    return done


def reference(folder: Path) -> bytes:
    return (folder / "reference.safetensors").read_bytes()


@pytest.mark.parametrize(("bits", "rounded_by_gptq"), [(8, False), (4, True)])
def test_gptq_rounds_below_8_bits(tmp_path: Path, bits: int, rounded_by_gptq: bool) -> None:
    config = BuildConfig.for_model("fashion_mobilenet", bits=bits, preset="quick")
    done = run(config, tmp_path / "build", count=1)
    layers = [part for part in load_reference(tmp_path / "build").modules() if isinstance(part, QuantizedLayer)]
    model = load_model(config.model)
    plain = prepare(model.module, model.input_size, config.quantize, rule_for("onnxruntime"))[0]
    codes = [part.codes for part in plain.modules() if isinstance(part, QuantizedLayer)]
    as_rounded = [torch.equal(part.codes, code) for part, code in zip(layers, codes, strict=True)]
    assert all(as_rounded) == (not rounded_by_gptq) and bool(done.summary["blocks"]) == rounded_by_gptq


def test_a_method_that_is_not_named_is_one_that_is_switched_off(tmp_path: Path) -> None:
    off = ["quantize.gptq=false", "quantize.mixed_precision={}", "quantize.layernorm_equalization=false"]
    named = ["quantize.methods=[bias_correction, rounding_ties]"]
    results = []
    for name, settings in (("off", off), ("named", named)):
        config = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick", settings=settings)
        results.append(run(config, tmp_path / name, count=8).summary)
    assert reference(tmp_path / "off") == reference(tmp_path / "named") and results[0] == results[1]


def test_the_summary_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    config = BuildConfig.for_model("fashion_vit", bits=4, preset="quick", sensitivity=True)
    written = run(config, tmp_path / "build", count=8).summary
    read = QuantizeSummary.model_validate(written)
    assert read.model_dump(mode="json") == written
    assert read.images == 8 and len(read.sensitivity) == len(read.layers) and set(read.blocks) > {"blocks.0"}
    assert read.assigned_bits == {} and read.qat.held_out_kl == ()


def test_what_decides_the_result_is_told_without_torch() -> None:
    code = f"""
import sys
from genq_export.config.build import BuildConfig
from genq_export.quantization.stage import QuantizeStage
stage, config = QuantizeStage(), BuildConfig.for_model("fashion_resnet")
stage.settings(config), stage.parts(config)
assert "torch" not in sys.modules
assert "{ALGORITHMS}.qat" not in stage.parts(config)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_methods_in_use_decide_and_no_memory_budget() -> None:
    plain = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick")
    trained = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick", qat_epochs=1, memory_budget="1GB")
    assert set(STAGE.parts(trained)) - set(STAGE.parts(plain)) == {f"{ALGORITHMS}.qat"}
    assert f"{ALGORITHMS}.mixed_precision" not in STAGE.parts(plain)
    with_memory = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick", memory_budget="1GB")
    assert STAGE.settings(with_memory) == STAGE.settings(plain) != STAGE.settings(trained)
    unread = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick", settings=["quantize.qat.weight_lr=0.1"])
    assert STAGE.settings(unread) == STAGE.settings(plain)


def test_the_plan_says_how_much_there_is_to_do() -> None:
    assert STAGE.plan(BuildConfig.for_model("net")) == "ranges on 256 images, 1000 learned steps a block"
    few = BuildConfig.for_model("net", images=40, settings=["quantize.methods=[gptq]"])
    assert STAGE.plan(few) == "ranges on 40 images, 0 learned steps a block"


def test_an_order_that_undoes_a_method_is_a_problem(tmp_path: Path) -> None:
    methods = "quantize.methods=[gptq, layernorm_equalization]"
    (problem,) = STAGE.problems(BuildConfig.for_model("net", settings=[methods]), tmp_path)
    assert "layernorm_equalization (float) has to come before gptq (blocks)" in problem
    assert STAGE.problems(BuildConfig.for_model("net"), tmp_path) == []


def quantized_on(device: str, folder: Path) -> dict[str, float]:
    """Quantize fashion_resnet on a device, a little of all that the stage can do; its errors by block."""
    settings = ["quantize.reconstruction.iterations=4", "quantize.batch_size=8"]
    config = BuildConfig.for_model(
        "fashion_resnet", preset="quick", qat_epochs=1, sensitivity=True, device=device, settings=settings
    )
    summary = QuantizeSummary.model_validate(run(config, folder).summary)
    return {name: error.after for name, error in summary.blocks.items()}


@pytest.mark.slow
def test_a_graph_that_was_moved_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """`cpu:0` is a device like any other to the stage, and the CPU all the same."""
    assert quantized_on("cpu:0", tmp_path / "moved") == quantized_on("cpu", tmp_path / "here")
    assert reference(tmp_path / "moved") == reference(tmp_path / "here")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_ends_where_the_cpu_does(tmp_path: Path) -> None:
    here, there = (quantized_on(device, tmp_path / device) for device in ("cpu", "cuda"))
    assert there == pytest.approx(here, rel=0.1)
    ours, other = load_reference(tmp_path / "cpu"), load_reference(tmp_path / "cuda")
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (ours(images).argmax(1) == other(images).argmax(1)).float().mean() > 0.9
