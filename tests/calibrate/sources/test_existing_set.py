"""A set of another build, taken as it is."""

import os
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


@pytest.mark.parametrize("changed", ["metadata.jsonl", "an image"])
def test_its_identity_is_that_of_its_list_and_images(make_config: Make, made: Path, changed: str) -> None:
    """An image of the same size and time is another one, too."""
    before = identity(make_config(calibration_set=made))
    assert identity(make_config(calibration_set=made)) == before
    folder = made / "calibration"
    path = kept_images(folder)[-1] if changed == "an image" else folder / changed
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-20 if changed == "an image" else content.index(b'"seed": ') + 8] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert identity(make_config(calibration_set=made)) != before


def test_a_build_without_a_set_is_said_before_anything_starts(tmp_path: Path, make_config: Make) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    config = make_config(calibration_set=tmp_path)
    (problem,) = problems(config)
    assert "no calibration set in" in problem and "--calibration takes a build folder" in problem
    with pytest.raises(UserError, match="no calibration set"):
        identity(config)


def test_a_set_that_lost_an_image_is_said_before_anything_starts(make_config: Make, made: Path) -> None:
    kept_images(made / "calibration")[0].unlink()
    (problem,) = problems(make_config(calibration_set=made))
    assert "lacks 1 of its images" in problem
