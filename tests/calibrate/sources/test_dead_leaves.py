from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from calibrate import run
from calibrate.prompts import Prompt
from calibrate.sources.drawn_pictures import DEAD_LEAVES, DrawnPictures
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.data.dead_leaves import dead_leaves
from genq_export.data.noise import noise
from genq_export.models.loaded import LoadedModel


@settings(max_examples=20, deadline=None)
@given(height=st.integers(8, 96), width=st.integers(8, 96), seed=st.integers(0, 2**63 - 1))
def test_every_size_and_seed_gives_a_picture(height: int, width: int, seed: int) -> None:
    picture = dead_leaves(height, width, np.random.default_rng(seed))
    assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
    assert len(np.unique(picture)) > 8


def test_a_seed_decides_the_bytes_whatever_is_drawn_beside_it() -> None:
    source, prompts = DrawnPictures(DEAD_LEAVES, 24, 32), [Prompt("", 0)] * 3
    images, reasons = source.draw(prompts, [5, 6, 7])
    assert images.shape == (3, 24, 32, 3) and reasons == [None] * 3
    assert np.array_equal(images[1], source.draw(prompts[:1], [6])[0][0])
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize("exponent", [0.8, 1.8])
def test_noise_falls_with_frequency_as_asked(exponent: float) -> None:
    texture = noise(128, 128, exponent, np.random.default_rng(0))
    assert abs(texture.mean()) < 1e-9 and texture.std() == pytest.approx(1)
    power = np.abs(np.fft.fft2(texture.mean(2))) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    inner = (frequency > 0.02) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[inner]), np.log(power[inner]), 1)[0]
    assert slope == pytest.approx(-2 * exponent, abs=0.15)


def test_amplitudes_fall_as_those_of_photographs_do() -> None:
    """About 1 / f (Field 1987): the power of a natural image falls with the square of the frequency."""
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    inner = (frequency > 0.02) & (frequency < 0.4)
    slopes = []
    for seed in range(16):
        grey = dead_leaves(128, 128, np.random.default_rng(seed)).mean(2)
        window = np.hanning(128)[:, None] * np.hanning(128)[None]
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        slopes.append(np.polyfit(np.log(frequency[inner]), np.log(power[inner]), 1)[0])
    assert -3.5 < np.mean(slopes) < -1.5


def test_a_whole_set_has_no_classes_and_is_filtered_as_one(
    tmp_path: Path, make_config: Callable[..., BuildConfig], convnet: LoadedModel
) -> None:
    config = make_config(generator="leaves", images=6)
    assert run.problems(config) == []
    nameless = replace(convnet, class_names=None)
    result = run.run(Workspace.open(tmp_path / "b"), config, nameless, Progress(quiet=True))
    rows = read_rows(tmp_path / "b" / "calibration")
    assert {(row.label, row.class_name, row.prompt) for row in rows} == {(None, None, "")}
    kept = [row for row in rows if row.kept]
    assert len(kept) == 6 and len(rows) == 9
    dropped = [row.scores["bn_sensitivity"] for row in rows if row.reason == "distribution"]
    assert dropped and min(dropped) >= max(row.scores["bn_sensitivity"] for row in kept)
    assert result.summary["classes"] == [{"label": None, "name": "unlabelled", "kept": 6, "drawn": 9}]
    assert (tmp_path / "b" / "calibration" / "contact_sheet.png").is_file()


def test_real_images_join_whatever_their_class(
    tmp_path: Path, make_config: Callable[..., BuildConfig], convnet: LoadedModel
) -> None:
    folder = tmp_path / "real" / "class 1"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.fromarray(np.full((16, 16, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
    config = make_config(generator="leaves", images=4, real=tmp_path / "real")
    assert run.problems(config) == []
    without = run.identity(make_config(generator="leaves", images=4))
    assert run.identity(config) != without
    named = replace(convnet, class_names=("class 0", "class 1", "class 2"))
    run.run(Workspace.open(tmp_path / "b"), config, named, Progress(quiet=True))
    kept = [row for row in read_rows(tmp_path / "b" / "calibration") if row.kept]
    assert len(kept) == 4 and sum(row.seed is None for row in kept) == 2


@pytest.mark.parametrize("generator", ["leaves", "distill"])
def test_what_needs_a_pipeline_is_said_before_anything_starts(
    generator: str, tmp_path: Path, make_config: Callable[..., BuildConfig]
) -> None:
    (problem,) = run.problems(make_config(generator=generator, style=tmp_path / "s.safetensors"))
    assert problem.startswith(f"generator {generator} has no use for a style token")
    (problem,) = run.problems(make_config(generator=generator, real=tmp_path / "none"))
    assert "--real takes a few real images, in a folder" in problem
