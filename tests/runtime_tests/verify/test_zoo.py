"""Every network of the zoo on both targets, code by code."""

from pathlib import Path

import pytest

from genq_export import zoo
from genq_export.config.build import BuildConfig, Target
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from runtime_tests.verify.run import verify
from tests.runtime_tests.measured import no_speed

QUIET = Progress(quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("name", zoo.ZOO_MODELS)
def test_codes_are_the_oracles(name: str, target: Target, few_images: Path, tmp_path: Path) -> None:
    from export.run import run as run_export
    from genq_export.quantization.run import run as run_quantize

    if not zoo.weights_file(name).is_file():
        pytest.skip(f"{name} is not in the package")
    values = BuildConfig.for_model(name, bits=4, preset="quick", target=target).model_dump()
    values["verify"] |= {"evaluation": few_images, "fidelity_images": 160}
    config = BuildConfig.parse(values)
    network = load_model(config.model)
    workspace = Workspace.open(tmp_path / "build")
    images = sorted(few_images.rglob("*.png"))
    workspace.record("quantize", "q", run_quantize(workspace, config, network, images, tmp_path / "p", QUIET), 1.0)
    workspace.record("export", "e", run_export(workspace, config, network, QUIET), 1.0)
    run = verify(workspace, config, network, QUIET, measure_speed=no_speed)
    fidelity = {item.backend: item for item in run.fidelity}
    assert fidelity["reference"].differing == 0
    deployed = fidelity[run.deployed]
    # As integers the codes are equal; in float (TensorRT's file without a GPU) ties at a border may fall differently.
    allowed = 1e-6 if target == "onnxruntime" else 1e-4
    assert deployed.differing <= allowed * deployed.codes, deployed.explanation
    assert run.agreement[f"{run.deployed}_vs_reference"] >= 0.99
    assert run.constants == ()


def test_tensorrt_without_its_package_or_gpu_is_missing_not_failed(pristine_build: Path) -> None:
    from genq_export.core.errors import BackendMissing
    from genq_export.runtimes.isolation.process import IsolatedBackend

    with pytest.raises(BackendMissing, match="TensorRT"):
        IsolatedBackend("tensorrt", pristine_build / "model.onnx", 60.0)
