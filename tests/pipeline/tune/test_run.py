"""A search on the embedded ResNet, made small: one calibration set, nothing built twice, the winner in its folder."""

import shutil
from itertools import count
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace, sha256
from genq_export.pipeline.build import read_config
from genq_export.pipeline.tune.choice import Conditions
from genq_export.pipeline.tune.run import tune
from genq_export.pipeline.tune.ship import CANDIDATES, FLOAT_FILE, ship
from genq_export.pipeline.tune.verdict import Tuned, judged, read_tuned
from runtime_tests.report.model import read_report
from tests.pipeline.tune.outcomes import outcome

EASY = Conditions(max_loss=100.0, minimize="size")


def small(judge: Path) -> BuildConfig:
    """Few images, few steps, few timed calls."""
    changes = (
        "calibrate.steps=4", "calibrate.batch_size=16", "quantize.reconstruction.iterations=2",
        "verify.latency_runs=10", "verify.fidelity_images=4",
    )  # fmt: skip
    return BuildConfig.for_model("fashion_resnet", images=20, evaluation=judge, settings=changes)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without labels."""
    folder = tmp_path_factory.mktemp("judge")
    for number, image in enumerate(zoo.few_shot_set()[0][:24]):
        Image.fromarray(np.asarray(image)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(judge: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuned]:
    folder = tmp_path_factory.mktemp("tune") / "fashion"
    return folder, tune(small(judge), folder, EASY)


def test_the_winner_is_built_with_its_picture_and_report(tuned: tuple[Path, Tuned]) -> None:
    folder, found = tuned
    assert found.verdict == "met" and found.winner in found.front and read_tuned(folder) == found
    assert [outcome.name for outcome in found.outcomes] == ["w8a8", "w4a8"], (
        "nothing can be smaller, and this is allowed"
    )
    assert found.outcome("w8a8").unit == "nats" and found.outcome(str(found.winner)).size_share < 0.2
    shipped, candidate = folder / "winner", folder / CANDIDATES / str(found.winner)
    assert sha256(shipped / "model.onnx") == sha256(candidate / "model.onnx")
    assert len({row.batch for row in read_report(shipped).latency.rows}) > 1  # type: ignore[union-attr]
    assert f"candidates/{found.winner}/report.html" in (folder / "tune.html").read_text()


def test_candidates_share_one_calibration_set(tuned: tuple[Path, Tuned]) -> None:
    sets = [Workspace(place).output_hashes("calibrate") for place in (tuned[0] / CANDIDATES).iterdir()]
    assert len(sets) == 2 and all(found == sets[0] for found in sets)


def test_a_budget_of_a_minute_gives_the_first_build_and_the_rest_follows_later(
    tuned: tuple[Path, Tuned], judge: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "short"
    minutes = (60.0 * number for number in count())
    first = tune(small(judge), folder, EASY, budget_minutes=1, clock=lambda: next(minutes))
    assert [outcome.name for outcome in first.outcomes] == ["w8a8"] and first.unfinished == "w4a8"
    assert first.winner == "w8a8" and "time was up" in first.reason


def test_a_second_search_builds_nothing_and_other_conditions_take_what_is_there(
    tuned: tuple[Path, Tuned], judge: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tuned[0], tmp_path / "again"))
    before = {place: place.stat().st_mtime_ns for place in (folder / CANDIDATES).glob("*/manifest.json")}
    again = tune(small(judge), folder, EASY)
    assert again.winner == tuned[1].winner
    assert before == {place: place.stat().st_mtime_ns for place in (folder / CANDIDATES).glob("*/manifest.json")}


def test_a_limit_that_nothing_meets_gives_the_nearest_and_says_so(
    tuned: tuple[Path, Tuned], judge: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tuned[0], tmp_path / "strict"))
    strict = Conditions(max_loss=-1.0, minimize="size")
    found = tune(small(judge), folder, strict, budget_minutes=0)
    assert found.verdict == "nearest" and "none of" in found.reason and "-1 nats" in found.reason
    assert {outcome.name for outcome in found.outcomes} == {"w8a8", "w4a8"}, (
        "what is there is taken up, whatever the time is"
    )
    assert found.winner == min(found.outcomes, key=lambda outcome: outcome.loss).name


def test_where_nothing_beats_float_float_is_shipped(judge: Path, tmp_path: Path) -> None:
    slow = [outcome("w8a8", 0.0, 0.99, 0.25), outcome("w4a8", 0.0, 1.2, 0.15)]
    found = judged(small(judge), Conditions(), slow, {}, None)
    assert (found.verdict, found.winner) == ("float", None)
    assert "no build is 1.02 times as fast as float (w8a8 reaches 1.01)" in found.reason
    (tmp_path / "winner").mkdir()
    ship(small(judge), tmp_path, found, {}, Progress(quiet=True))
    assert onnxruntime.InferenceSession(tmp_path / FLOAT_FILE).get_inputs()[0].name == "input"
    assert not (tmp_path / "winner").exists()


def test_a_folder_of_somebody_else_is_left_alone(judge: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="give another folder with -o"):
        tune(small(judge), tmp_path, EASY)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_candidates_are_the_base_but_for_what_they_differ_in(tuned: tuple[Path, Tuned], judge: Path) -> None:
    config = read_config(tuned[0] / CANDIDATES / "w4a8")
    assert (config.quantize.weight_bits, config.quantize.activation_bits) == (4, 8)
    assert config.quantize.reconstruction.iterations == 0 and config.seed == small(judge).seed
