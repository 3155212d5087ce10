"""What --eval takes beside labelled folders: WebDataset shards and Hugging Face data sets, labelled or not."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.data.evaluation import EvaluationSet, load_images
from genq_export.data.raw import Reading
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set, load_model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelConfig(name="fashion_resnet"))


def read(model: LoadedModel, source: Path, labels: Literal["index0"] | None = None) -> EvaluationSet:
    found = evaluation_set(model, source, Reading(labels=labels))
    assert found is not None
    return found


def png(shade: int, size: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(out, "PNG")
    return out.getvalue()


def shard(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_shards_give_pictures_and_numbers_in_order(tmp_path: Path, model: LoadedModel) -> None:
    shard(tmp_path / "b.tar", [("x/3.jpg", png(30)), ("x/3.cls", b"9\n")])
    shard(tmp_path / "a.tar", [("1.cls", b"4"), ("1.png", png(10)), ("2.png", png(20)), ("2.json", b'{"label": 5}')])
    found = read(model, tmp_path, "index0")
    assert found.labels is not None and found.labels.tolist() == [4, 5, 9]
    (batch,) = found.batches(model, 5)
    expected = load_images([Image.new("RGB", (32, 32), (shade,) * 3) for shade in (10, 20, 30)], model)
    assert batch.equal(expected)
    assert isinstance(found.images[1], Image.Image)


def test_a_shard_may_name_its_classes_or_have_none(tmp_path: Path, model: LoadedModel) -> None:
    named = shard(
        tmp_path / "named.tar", [("1.png", png(1)), ("1.cls", b"dress"), ("2.png", png(2)), ("2.cls", b"bag")]
    )
    assert read(model, named).labels.tolist() == [zoo.CLASS_NAMES.index("dress"), zoo.CLASS_NAMES.index("bag")]
    bare = shard(tmp_path / "bare.tar", [("1.png", png(1)), ("1.json", b'{"caption": "a dress"}')])
    assert read(model, bare).labels is None


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("1.png", png(1)), ("1.cls", b"3"), ("2.png", png(2))], "1 of 2 images .* have no label"),
        ([("1.png", png(1)), ("1.cls", b"11")], "the numbers 11 to 11 as labels .*10 classes"),
        ([("1.png", png(1)), ("1.cls", b"-1")], "the numbers -1 to -1"),
        ([("1.png", png(1)), ("1.cls", b"zebra")], "fits no class of fashion_resnet: label of .cls: 'zebra'"),
        ([("1.png", png(1)), ("1.cls", b"\x00\x01\x02")], r"label 1\.cls .* cannot be read"),
        ([("1.png", png(1)), ("1.json", b"{")], r"label 1\.json .* cannot be read"),
        ([("1.png", png(1)), ("1.jpg", png(1))], "two images of the name 1"),
        ([("1.cls", b"3")], "no images"),
    ],
)
def test_bad_shards_are_refused_in_a_line(
    tmp_path: Path, model: LoadedModel, members: list[tuple[str, bytes]], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        read(model, shard(tmp_path / "a.tar", members))


@pytest.mark.parametrize("kept", [100, 700, 1536, 2048])
def test_a_truncated_shard_is_refused(tmp_path: Path, model: LoadedModel, kept: int) -> None:
    """Within a header, within an image, and at the very end of a member, where nothing but the end mark is missing."""
    path = shard(tmp_path / "a.tar", [("1.png", png(1)), ("1.cls", b"3")])
    whole = path.read_bytes()
    assert len(png(1)) <= 512 and not any(whole[2048:])
    path.write_bytes(whole[:kept])
    with pytest.raises(UserError, match=r"truncated|not a tar file"):
        read(model, path)


def test_a_broken_picture_in_a_shard_is_named(tmp_path: Path, model: LoadedModel) -> None:
    with pytest.raises(UserError, match=r"1\.png in .*a\.tar"):
        read(model, shard(tmp_path / "a.tar", [("1.png", png(1)[:40])]))


def test_links_and_paths_in_a_shard_lead_nowhere(tmp_path: Path, model: LoadedModel) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
        entry = tarfile.TarInfo("../../1.png")
        entry.size = len(png(1))
        archive.addfile(entry, io.BytesIO(png(1)))
    assert len(read(model, path)) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar"]


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (32, 32), (20 * number,) * 3) for number in range(count)]


def test_a_data_set_saved_to_disk(tmp_path: Path, model: LoadedModel) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["bag", "dress"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    table = datasets.Dataset.from_dict({"image": pictures(3), "label": [1, 0, 1]}, features=features)
    table.save_to_disk(tmp_path / "plain")
    found = read(model, tmp_path / "plain")
    dress, bag = zoo.CLASS_NAMES.index("dress"), zoo.CLASS_NAMES.index("bag")
    assert found.labels is not None and found.labels.tolist() == [dress, bag, dress]
    assert next(iter(found.batches(model, 3))).equal(load_images(pictures(3), model))
    splits = datasets.DatasetDict({"train": table, "test": table.select([0])})
    splits.save_to_disk(tmp_path / "splits")
    assert len(read(model, tmp_path / "splits")) == 1
    datasets.DatasetDict({"train": table, "extra": table}).save_to_disk(tmp_path / "none")
    with pytest.raises(UserError, match="the splits train, extra"):
        read(model, tmp_path / "none")


@pytest.mark.parametrize(
    ("labels", "words"),
    [([3, 12, 1], "numbers from 1 to 12"), ([8, None, 3], "1 of 3 images .* have no label"), ([None] * 3, None)],
)
def test_labels_of_a_data_set_are_checked(
    tmp_path: Path, model: LoadedModel, labels: list[int | None], words: str | None
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    datasets.Dataset.from_dict({"image": pictures(3), "label": labels}, features=features).save_to_disk(tmp_path / "x")
    if words is None:
        assert read(model, tmp_path / "x").labels is None
        return
    with pytest.raises(UserError, match=words):
        read(model, tmp_path / "x", "index0" if None in labels else None)


def test_image_folders_with_metadata_or_splits_and_parquet(
    tmp_path: Path, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = []
    for number, name in enumerate(("dress", "bag")):
        for folder in (tmp_path / "listed", tmp_path / "split" / "test" / name, tmp_path / "split" / "train" / name):
            folder.mkdir(parents=True, exist_ok=True)
            pictures(2)[number].save(folder / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "label": name}))
    (tmp_path / "listed" / "metadata.jsonl").write_text("\n".join(rows))
    wanted = [zoo.CLASS_NAMES.index("dress"), zoo.CLASS_NAMES.index("bag")]
    assert read(model, tmp_path / "listed").labels.tolist() == wanted
    found = read(model, tmp_path / "split")
    assert len(found) == 2 and sorted(found.labels.tolist()) == sorted(wanted)
    (tmp_path / "stored").mkdir()
    table = datasets.Dataset.from_dict({"image": pictures(2), "label": np.array([3, 8])}).cast_column(
        "image", datasets.Image()
    )
    table.to_parquet(tmp_path / "stored" / "test-00000-of-00001.parquet")
    assert read(model, tmp_path / "stored", "index0").labels.tolist() == [3, 8]


def test_a_data_set_without_pictures_or_damaged_is_refused(tmp_path: Path, model: LoadedModel) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "text")
    with pytest.raises(UserError, match=r"no column of images \(its columns: text\)"):
        read(model, tmp_path / "text")
    (tmp_path / "text" / "state.json").write_text("{")
    with pytest.raises(UserError, match="cannot read the data set"):
        read(model, tmp_path / "text")


def test_images_outside_the_class_folders_are_counted(tmp_path: Path, model: LoadedModel) -> None:
    for place in ("dress/a.png", "b.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(png(1))
    with pytest.raises(UserError, match=r"1 of 2 images .* have no label"):
        read(model, tmp_path)
