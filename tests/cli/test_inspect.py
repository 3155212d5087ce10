"""`genq-export inspect`: what the reader made of images, or in one line why it makes nothing of them."""

import json
from pathlib import Path

from PIL import Image

from genq_export import zoo
from tests.cli.conftest import Run
from tests.data.sets import class_folders, write

MODEL = ("--model", "fashion_resnet")


def test_what_was_made_of_a_folder(tmp_path: Path, run: Run) -> None:
    class_folders(tmp_path, [name.title() for name in zoo.CLASS_NAMES])
    write(tmp_path / "Bag" / "a.jxl", b"")
    done = run("inspect", str(tmp_path), *MODEL, "--json")
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout.splitlines()[-1])
    assert account["images"] == 120 and account["classes"] == 10
    assert account["skipped"] == [{"name": "Bag/a.jxl", "reason": ".jxl"}]
    for words in ("by folder (by case, space, hyphen or Unicode form)", "3 dress: 12", "not turned by EXIF"):
        assert words in done.stdout


def test_without_a_network_and_for_another_use(tmp_path: Path, run: Run) -> None:
    class_folders(tmp_path, ["a", "b"])
    done = run("inspect", str(tmp_path), "--use", "calibration")
    assert done.returncode == 0, done.stderr
    assert "24 images, without labels" in done.stdout and "turned as the camera notes" in done.stdout
    assert "give --model NAME" in done.stdout


def test_what_is_refused_is_one_line(tmp_path: Path, run: Run) -> None:
    class_folders(tmp_path, ["1", "2"])
    done = run("inspect", str(tmp_path), *MODEL)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--labels index0 or --labels index1" in done.stderr
    again = run("inspect", str(tmp_path), *MODEL, "--labels", "index1")
    assert again.returncode == 0 and "24 images, 2 classes" in again.stdout


def test_a_build_is_refused_before_anything_is_written(tmp_path: Path, run: Run) -> None:
    """By every use that needs labels."""
    class_folders(tmp_path / "set", ["1", "2"])
    for option in ("--eval", "--real"):
        done = run("build", "fashion_resnet", option, str(tmp_path / "set"), "-o", str(tmp_path / "build"))
        assert done.returncode == 2 and "--labels index1" in done.stderr
        assert not (tmp_path / "build").exists()


def test_masks_are_looked_at_as_the_networks(tmp_path: Path, run: Run) -> None:
    for folder, mode in (("images", "RGB"), ("masks", "L")):
        (tmp_path / folder).mkdir()
        Image.new(mode, (80, 80), 0).save(tmp_path / folder / "a.png")
    done = run("inspect", str(tmp_path), "--model", "fashion_segmenter")
    assert done.returncode == 0, done.stderr
    assert "a folder of images and masks" in done.stdout and "by masks (the numbers 0 to 10)" in done.stdout
