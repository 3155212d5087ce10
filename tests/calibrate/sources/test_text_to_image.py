"""Kinds of text-to-image pipelines, tiny and with random weights, drawn from as the command line does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calibrate.pipeline_files import image_size
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.pipeline.build import run_stages
from tests.calibrate.pipelines import pixart, saved, stable_diffusion_2_1, stable_diffusion_xl, turbo


def draw(generator: Path, folder: Path, *settings: str, **more: Any) -> Path:
    """What `genq-export calibrate fashion_resnet --generator DIR` does; returns the build folder."""
    config = BuildConfig.for_model(
        "fashion_resnet", generator=str(generator), images=10, settings=("calibrate.distribution_keep=1", *settings),
        **more,
    )  # fmt: skip
    assert run_stages(config, folder, ("calibrate",), Progress(quiet=True)) == ("calibrate",)
    return folder


@pytest.mark.parametrize(
    ("make", "scheduler", "steps", "guidance", "size"),
    [
        (stable_diffusion_2_1, "DDIMScheduler", 50, 3.5, 16),
        (turbo, "EulerDiscreteScheduler", 1, 0.0, 16),
        (stable_diffusion_xl, "EulerDiscreteScheduler", 30, 5.0, 16),
        (pixart, "DPMSolverMultistepScheduler", 20, 4.5, 256),
    ],
)
def test_a_pipeline_draws_with_its_own_defaults(
    make: Callable[..., Any], scheduler: str, steps: int, guidance: float, size: int, tmp_path: Path
) -> None:
    generator = saved(make, tmp_path / ("sd-turbo" if make is turbo else "generator"))
    assert image_size(generator) == size
    folder = draw(generator, tmp_path / "build")
    sampler = Workspace.existing(folder).summary("calibrate")["sampler"]
    assert (sampler["scheduler"], sampler["steps"], sampler["guidance"]) == (scheduler, steps, guidance)
    assert (sampler["size"], sampler["dtype"]) == (size, "float32")
    rows = read_rows(folder / "calibration")
    assert sum(row.kept for row in rows) == 10
    pictures = [np.asarray(Image.open(folder / "calibration" / row.file_name)) for row in rows if row.kept]
    assert all(picture.shape == (size, size, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 10


def test_velocity_is_not_taken_for_noise(tmp_path: Path) -> None:
    few = "calibrate.steps=3"
    folders = [
        draw(saved(stable_diffusion_2_1, tmp_path / name, name), tmp_path / f"build-{name}", few)
        for name in ("v_prediction", "epsilon")
    ]
    first, second = (np.asarray(Image.open(folder / "calibration/images/000000.png")) for folder in folders)
    assert not np.array_equal(first, second)


def test_a_style_token_is_learned_where_velocity_is_predicted(tmp_path: Path) -> None:
    (tmp_path / "real" / "bag").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "real" / "bag" / "0.png")
    generator = saved(stable_diffusion_2_1, tmp_path / "generator")
    settings = ("calibrate.steps=2", "calibrate.inversion_steps=2")
    folder = draw(generator, tmp_path / "build", *settings, real=tmp_path / "real")
    assert (folder / "calibration" / "style.safetensors").is_file()


def test_a_style_token_is_refused_where_there_are_two_text_encoders(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "real" / "0.png")
    generator = saved(stable_diffusion_xl, tmp_path / "generator")
    with pytest.raises(UserError, match=r"one text encoder and a UNet .* not StableDiffusionXLPipeline"):
        draw(generator, tmp_path / "build", real=tmp_path / "real")
    assert not (tmp_path / "build").exists()
