"""The door for ONNX files: what it says of a file, and a build from one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calibrate.sources.source import source_path
from genq_export import BuildConfig, UserError, build
from genq_export.config.model import ModelConfig
from genq_export.models.source import door_for, identity, load_model, problems
from tests import networks
from tests.models.onnx_import.graphs import write_classifier
from tests.models.onnx_import.test_networks import export


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    module = networks.randomise_norms(networks.ResidualNet())
    return export(module, tmp_path_factory.mktemp("onnx") / "net.onnx", networks.SIZE, "torchscript")


def test_a_file_is_a_network_with_what_it_says(net: Path) -> None:
    model = load_model(ModelConfig(name=str(net)))
    assert (model.input_size, model.classes, model.class_names) == (networks.SIZE, 5, None)
    assert (model.mean, model.std) == ((0.0,) * 3, (1.0,) * 3)
    assert "pixels in [0, 1]" in model.notes[0]
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_preprocessing_that_is_given_needs_no_note(net: Path) -> None:
    model = load_model(ModelConfig(name=str(net), mean=(0.5,), std=(0.25,)))
    assert (model.mean, model.std, model.notes) == ((0.5,) * 3, (0.25,) * 3, ())


def test_a_free_size_is_given(tmp_path: Path) -> None:
    name = str(write_classifier(tmp_path / "free.onnx", ("n", 3, "h", "w")))
    with pytest.raises(UserError, match="give --input-size"):
        load_model(ModelConfig(name=name))
    model = load_model(ModelConfig(name=name, input_size=(3, 10, 12)))
    assert (model.input_size, model.classes) == ((3, 10, 12), 7)


def test_the_identity_changes_with_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    found = {identity(ModelConfig(name=str(write_classifier(path, ("n", 3, 4, 4), seed)))) for seed in range(2)}
    assert len(found) == 2


def test_the_identity_needs_no_torch(net: Path) -> None:
    code = (
        "import sys; from genq_export.models.source import identity; from genq_export.config.model import ModelConfig;"
        f"identity(ModelConfig(name={str(net)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_file_is_a_problem_before_anything_is_loaded() -> None:
    assert problems(ModelConfig(name="gone.onnx")) == ["network file gone.onnx does not exist"]


@pytest.mark.parametrize(
    ("options", "source"),
    [({}, "DEAD_LEAVES"), ({"generator": "distill"}, "distillation"), ({"classes": Path("c")}, "text_to_image")],
)
def test_a_file_is_calibrated_on_dead_leaves_unless_told_otherwise(options: dict[str, object], source: str) -> None:
    config = BuildConfig.for_model("net.onnx", **options)
    assert type(door_for(config.model)).__name__ == "OnnxFileDoor"
    assert source in source_path(config)


@pytest.mark.slow
def test_a_file_is_built_to_the_end(net: Path, tmp_path: Path) -> None:
    settings = [
        "calibrate.images=24", "verify.fidelity_images=24", "verify.latency_runs=10", "verify.latency_batches=[1]",
        "quantize.reconstruction.iterations=20",
    ]  # fmt: skip
    report = build(BuildConfig.for_model(str(net), bits=8, preset="quick", settings=settings), tmp_path / "built")
    assert report.passed
