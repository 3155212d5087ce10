"""A real small build to verify: the zoo's ResNet on 4-bit grids, ranges only, exported as the product exports it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from runtime_tests.verify.constants import Constants

MODEL = "fashion_resnet"
torch.set_num_threads(1)  # beside other work, torch with more threads than free cores mostly waits
QUIET = Progress(quiet=True)


@pytest.fixture(scope="session")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 real images as a labelled folder, 16 a class."""
    folder = tmp_path_factory.mktemp("images")
    for number, (pixels, label) in enumerate(zip(*zoo.few_shot_set(), strict=True)):
        place = folder / zoo.CLASS_NAMES[label]
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def config(few_images: Path) -> BuildConfig:
    """Quick in everything: 160 images judged, codes of 24 compared, ten timed calls.

    First and last layer on 7 bits: 8-bit products saturate on processors without VNNI, which has a test of its own.
    """
    values = BuildConfig.for_model(MODEL, bits=4, preset="quick").model_dump()
    values["quantize"]["first_last_bits"] = 7
    values["verify"] |= {
        "evaluation": few_images, "fidelity_images": 24, "latency_runs": 10, "latency_batches": (1,),
        "backends": ("reference", "oracle", "onnxruntime"), "gates": {"max_accuracy_loss": 20.0},
    }  # fmt: skip
    return BuildConfig.parse(values).on_chosen_device()


@pytest.fixture(scope="session")
def model(config: BuildConfig) -> LoadedModel:
    return load_model(config.model)


@pytest.fixture(scope="session")
def pristine_build(
    tmp_path_factory: pytest.TempPathFactory, config: BuildConfig, model: LoadedModel, few_images: Path
) -> Path:
    """A quantized and exported build that no test may change."""
    from export.run import run as run_export
    from genq_export.quantization.run import run as run_quantize

    folder = tmp_path_factory.mktemp("build") / "resnet"
    workspace = Workspace.open(folder)
    images = sorted(few_images.rglob("*.png"))
    quantized = run_quantize(workspace, config, model, images, folder / "partial", QUIET)
    workspace.record("quantize", "q", quantized, 1.0)
    workspace.record("export", "e", run_export(workspace, config, model, QUIET), 1.0)
    return folder


@pytest.fixture
def build(pristine_build: Path, tmp_path: Path) -> Workspace:
    """A copy of the build, to damage."""
    return Workspace.existing(Path(shutil.copytree(pristine_build, tmp_path / "build")))


Edit = Callable[[onnx.ModelProto, Constants], None]


@pytest.fixture
def plant(build: Workspace) -> Callable[[Edit], Workspace]:
    """Change `model.onnx` in the copy."""

    def change(edit: Edit) -> Workspace:
        path = build.path("model.onnx")
        content = onnx.load(path)
        edit(content, Constants(content))
        path.write_bytes(content.SerializeToString())
        return build

    return change


@pytest.fixture(scope="session")
def images(few_images: Path, model: LoadedModel) -> np.ndarray:
    """float32 [24, 3, 32, 32]"""
    from genq_export.data.evaluation import load_images

    return load_images(sorted(few_images.rglob("*.png"))[::7][:24], model).numpy()


@pytest.fixture(scope="module")
def finished(
    pristine_build: Path, tmp_path_factory: pytest.TempPathFactory, config: BuildConfig, model: LoadedModel
) -> Workspace:
    """A verified and reported build, with a contact sheet."""
    from runtime_tests.report.stage import run_report
    from runtime_tests.verify.stage import run_verify

    folder = Path(shutil.copytree(pristine_build, tmp_path_factory.mktemp("finished") / "build"))
    (folder / "calibration").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(
        folder / "calibration/contact_sheet.png"
    )
    workspace = Workspace.existing(folder)
    workspace.record("verify", "v", run_verify(workspace, config, model, QUIET), 1.0)
    workspace.record("report", "r", run_report(workspace, config, QUIET), 1.0)
    return workspace
