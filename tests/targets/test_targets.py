"""Every target: what it says before a build, and which runtimes its verdict rests on."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from export.fold import fold
from genq_export.config.build import BuildConfig
from genq_export.config.export import ExportConfig
from genq_export.config.registry import RUNTIMES, TARGETS
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.pipeline.preflight import preflight
from genq_export.quantization.run import run as run_quantize
from genq_export.runtimes import runtime
from genq_export.targets import rule_for, target, title_of
from genq_export.targets.base import Compiled
from tests.targets.conftest import Photographs

SIZE = (3, 32, 32)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_judged_by_runtimes_that_read_its_file(name: str) -> None:
    made_for = target(name)
    assert made_for.name == made_for.rule.name == name and title_of(name) == made_for.title
    assert {"reference", "oracle", made_for.default_runtime} <= made_for.needed_for_verdict
    for judge in made_for.needed_for_verdict & RUNTIMES.keys():
        assert runtime(judge).reads(made_for.rule)


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"target 'tensorr' is not known .*give one of onnxruntime, tensorrt"):
        target("tensorr")
    assert title_of("of another version") == "of another version"


def test_what_stands_for_the_deployed_file() -> None:
    assert target("onnxruntime").deployed(()) == "onnxruntime", "nothing else may speak for it"
    assert target("tensorrt").deployed(("reference", "tensorrt", "onnxruntime-unfused")) == "tensorrt"
    assert target("tensorrt").deployed(("reference", "onnxruntime")) == "onnxruntime-unfused"


def test_run_instructions_say_how(tmp_path: Path) -> None:
    settings = ExportConfig(engine_batches=(1, 2, 4))
    assert "np.zeros((1, 3, 32, 32), np.float32)" in target("onnxruntime").run_instructions(SIZE, settings, None)
    plain = target("tensorrt").run_instructions(SIZE, settings, None)
    assert "trtexec --onnx=model.onnx" in plain and "--maxShapes=input:4x3x32x32" in plain
    facts = {"builder": "tensorrt_rtx", "version": "1.7", "compute_capabilities": ["SM86", "SM89"], "bytes": 1}
    built = target("tensorrt").run_instructions(SIZE, settings, Compiled(("model.engine", "engine.json"), facts))
    assert built.startswith("`model.engine` was built by tensorrt_rtx 1.7 for SM86, SM89") and built.endswith(plain)


def test_fp16_for_a_target_without_is_named_at_preflight(tmp_path: Path) -> None:
    config = BuildConfig.for_model("fashion_vit", settings=["export.half_remainder=true"])
    with pytest.raises(UserError, match=r"export\.half_remainder: --target onnxruntime"):
        preflight(config, tmp_path / "build")
    assert not rule_for("onnxruntime").half_remainder


@pytest.mark.parametrize(
    ("name", "wanted", "reason"),
    [("tensorrt", "1.16", "is a release of ONNX Runtime"), ("onnxruntime", "1.999", r"is newer than .*: give 1\.")],
)
def test_a_release_that_the_file_cannot_be_written_for_is_named_at_preflight(
    tmp_path: Path, name: str, wanted: str, reason: str
) -> None:
    config = BuildConfig.for_model("fashion_resnet", target=name, minimum_runtime=wanted)
    with pytest.raises(UserError, match=rf"export\.minimum_runtime.* {reason}"):
        preflight(config, tmp_path / "build")


def installed(patch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """A machine on which this TensorRT, and no other, is installed."""
    for other in ("tensorrt", "tensorrt_rtx"):
        patch.delitem(sys.modules, other, raising=False)
    patch.setitem(sys.modules, name, SimpleNamespace(__spec__=SimpleNamespace(), **content))  # type: ignore[arg-type]


RTX = {"ComputeCapability": SimpleNamespace(SM86=0, SM89=1, SM120=2, CURRENT=3)}


def test_a_gpu_that_no_engine_can_be_built_for_is_named_at_preflight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "tensorrt_rtx", **RTX)
    config = BuildConfig.for_model(
        "fashion_resnet", target="tensorrt", settings=["export.compute_capabilities=[SM89, SM90]"]
    )
    with pytest.raises(UserError, match=r"export\.compute_capabilities: --target tensorrt: .*SM90, only for SM120, "):
        preflight(config, tmp_path / "build")


def test_another_tensorrt_than_was_asked_for_is_named_at_preflight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "tensorrt", __version__="11.4.1")
    config = BuildConfig.for_model("fashion_resnet", target="tensorrt", settings=["export.tensorrt=10"])
    with pytest.raises(UserError, match=r"export\.tensorrt: 10 was asked for, and TensorRT 11\.4\.1 is installed"):
        preflight(config, tmp_path / "build")
    elsewhere = BuildConfig.for_model("fashion_resnet", settings=["export.tensorrt=10"])
    with pytest.raises(UserError, match=r"export\.tensorrt: leave it out or give --target tensorrt"):
        preflight(elsewhere, tmp_path / "build")


def test_the_file_for_tensorrt_10_is_in_its_lowest_opset(tmp_path: Path, photographs: Photographs) -> None:
    config = BuildConfig.for_model(
        "fashion_vit", bits=8, preset="quick", target="tensorrt", settings=["export.tensorrt=10"]
    )
    model, workspace, quiet = load_model(config.model), Workspace.open(tmp_path / "build"), Progress(quiet=True)
    run_quantize(workspace, config, model, photographs.files, tmp_path / "partial", quiet)
    files = {}
    for version in (10, None):
        settings = config.export.model_copy(update={"tensorrt": version})
        files[version] = tmp_path / f"{version}.onnx"
        network = fold(load_reference(workspace.folder))
        target("tensorrt").emit(network, model.input_size, settings, files[version])
    assert [onnx.load(path).opset_import[0].version for path in files.values()] == [17, 20]
    oldest, newest = (
        runtime("onnxruntime-unfused").open(path, 1).outputs(photographs.batch.numpy())["logits"]
        for path in files.values()
    )
    assert np.allclose(oldest, newest, atol=0.02 * np.abs(newest).max()), "GELU in its parts rounds otherwise"


@pytest.mark.parametrize("field", ["hardware_compatible", "version_compatible"])
def test_a_compatibility_that_tensorrt_rtx_lacks_is_refused_at_preflight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    installed(monkeypatch, "tensorrt_rtx", **RTX)
    config = BuildConfig.for_model("fashion_resnet", target="tensorrt", settings=[f"export.{field}=true"])
    with pytest.raises(UserError, match=rf"^export\.{field}: .*: leave it out and .*install tensorrt"):
        preflight(config, tmp_path / "build")
    installed(monkeypatch, "tensorrt")
    preflight(config, tmp_path / "build")
    assert target("tensorrt").notes() == [] and target("tensorrt").on_this_machine()[0] == "ONNX and engine"
