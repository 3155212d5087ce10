"""What decides an image or a number decides the fingerprint: every kind of file that a build is made from."""

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.pipeline.fingerprint import stage_fingerprint
from genq_export.pipeline.stages import find_stage
from genq_export.stage import StageContext


def identity(stage: str, folder: Path, **options: object) -> str:
    """What the stage is told by, whatever came before it."""
    found = find_stage(stage)
    config = BuildConfig.for_model(str(options.pop("name", "fashion_resnet")), device="cpu", **options)
    return repr((found.settings(config), found.inputs(config, Workspace(folder))))


def rewritten(path: Path, content: bytes) -> None:
    """Other content of the same size and time."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flipped(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    rewritten(path, bytes(content))


def pictures(folder: Path) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), name and "red").save(folder / name / "1.png")
    return folder


def one_image(folder: Path) -> None:
    flipped(folder / "b" / "1.png")


def one_class(folder: Path) -> None:
    (folder / "b").rename(folder / "c")


def splits(folder: Path) -> Path:
    """With a listing beside the split that is read."""
    pictures(folder / "val")
    (folder / "classes.txt").write_text("0 dress\n1 bag\n")
    return folder


def archive(folder: Path) -> Path:
    """With a listing beside it."""
    splits(folder)
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(folder / "val", "")
    return folder / "a.tar"


def listing(place: Path) -> None:
    flipped((place if place.is_dir() else place.parent) / "classes.txt")


def class_file(folder: Path) -> Path:
    (folder / "names.txt").write_text("".join(f"name {number}\n" for number in range(10)))
    return folder / "names.txt"


def large(folder: Path) -> Path:
    """More than 64 MB."""
    save_file({"a": torch.zeros(20_000_000)}, folder / "large.safetensors")
    return folder / "large.safetensors"


KINDS: dict[str, tuple[str, str, Callable[[Path], Path], Callable[[Path], object]]] = {
    "class names of an embedded network": ("calibrate", "classes", class_file, flipped),
    "class names, for the quantized network": ("quantize", "classes", class_file, flipped),
    "weights, in the middle of a large file": ("calibrate", "weights", large, flipped),
    "an image of --calibration": ("calibrate", "calibration_set", pictures, one_image),
    "a folder's name in --calibration": ("calibrate", "calibration_set", pictures, one_class),
    "an image of --real": ("calibrate", "real", pictures, one_image),
    "an image of --eval": ("verify", "evaluation", pictures, one_image),
    "a listing beside the splits of --eval": ("verify", "evaluation", splits, listing),
    "a listing beside a tar file of --eval": ("verify", "evaluation", archive, listing),
    "a listing beside a tar file of --calibration": ("calibrate", "calibration_set", archive, listing),
    "a class of --eval": ("verify", "evaluation", pictures, one_class),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_seen_though_size_and_time_stay(kind: str, tmp_path: Path) -> None:
    stage, option, make, change = KINDS[kind]
    place = make(tmp_path)
    before = identity(stage, tmp_path, **{option: place})
    assert before == identity(stage, tmp_path, **{option: place})
    change(place)
    assert before != identity(stage, tmp_path, **{option: place})


def test_a_set_of_other_classes_is_none_of_a_neighbours(tmp_path: Path) -> None:
    """A set is copied from a build beside this one where the fingerprints are one."""
    stage, workspace = find_stage("calibrate"), Workspace(tmp_path)
    own, given = (
        stage_fingerprint(stage, workspace, BuildConfig.for_model("fashion_resnet", device="cpu", classes=classes))
        for classes in (None, class_file(tmp_path))
    )
    assert own != given


def test_a_pipeline_that_the_run_downloads_is_told_as_it_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second run would take it for another one and draw all images anew."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    home = tmp_path / "hub" / "models--owner--name"
    snapshot = home / "snapshots" / ("0" * 40)

    def download(*_: object, **__: object) -> str:
        if not snapshot.exists():
            shutil.copytree(zoo.pipeline_folder(), snapshot)
            (home / "refs").mkdir()
            (home / "refs" / "main").write_text("0" * 40)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: f"{download()}/model_index.json")
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda *_, **__: [])
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.DiffusionPipeline.download", download)
    config = BuildConfig.for_model("fashion_resnet", device="cpu", generator="owner/name")
    stage, workspace = find_stage("calibrate"), Workspace(tmp_path / "build")
    context = StageContext(workspace, config, Progress(quiet=True), lambda: pytest.fail("no network is needed"))
    before = stage_fingerprint(stage, workspace, config)
    stage.fetch(context)
    fetched = stage_fingerprint(stage, workspace, config)
    assert fetched != before, "by its content, no longer by its name"
    stage.fetch(context)
    assert fetched == stage_fingerprint(stage, workspace, config)
