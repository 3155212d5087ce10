"""A set of another build, taken as it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calibrate.preflight import identity, problems
from calibrate.run import run
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images
from genq_export.models.loaded import LoadedModel

Make = Callable[..., BuildConfig]
QUIET = Progress(quiet=True)


@pytest.fixture
def made(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> Path:
    run(Workspace.open(tmp_path / "first"), make_config(images=4), convnet, QUIET)
    return tmp_path / "first"


@pytest.mark.parametrize("inner", ["", "calibration"])
def test_its_kept_images_are_copied(
    tmp_path: Path, make_config: Make, convnet: LoadedModel, made: Path, inner: str
) -> None:
    config = make_config(calibration_set=made / inner)
    assert problems(config) == []
    result = run(Workspace.open(tmp_path / "second"), config, convnet, QUIET)
    copied, original = kept_images(tmp_path / "second" / "calibration"), kept_images(made / "calibration")
    assert [path.read_bytes() for path in copied] == [path.read_bytes() for path in original] and len(copied) == 4
    assert result.summary["kept"] == 4 and str(made / "calibration") in result.summary["generator"]
    assert sorted(result.outputs)[-1] == "calibration/metadata.jsonl" and len(result.outputs) == 5


def test_its_identity_is_that_of_its_list(make_config: Make, made: Path) -> None:
    before = identity(make_config(calibration_set=made))
    list_of_images = made / "calibration" / "metadata.jsonl"
    list_of_images.write_text(list_of_images.read_text() + "\n")
    assert identity(make_config(calibration_set=made)) != before


def test_a_folder_without_a_set_is_said_before_anything_starts(tmp_path: Path, make_config: Make) -> None:
    config = make_config(calibration_set=tmp_path)
    (problem,) = problems(config)
    assert "no calibration set in" in problem and "--calibration takes a build folder" in problem
    with pytest.raises(UserError, match="no calibration set"):
        identity(config)
