"""Which layout a source is, what is skipped and why, and conflicts that are refused by the names of both."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genq_export import zoo
from genq_export.core.errors import UserError
from genq_export.data.account import Account
from genq_export.data.layout import used_part
from genq_export.data.pictures import Pictures
from genq_export.data.raw import Reading
from genq_export.data.reader import ImageSet, read_images
from tests.data.sets import TRUTH, Network, class_folders, png, shard, shown, write

NAMES = zoo.CLASS_NAMES


def read(root: Path, use: str = "eval", network: Network | None = None) -> ImageSet:
    return read_images(root, network or Network(), Reading(use))  # type: ignore[arg-type]


def check(found: ImageSet, images: int = 120) -> None:
    assert found.labels is not None and len(found.images) == images
    assert found.labels.tolist() == shown(found.images)


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    class_folders(tmp_path, NAMES)
    for number in range(9):
        write(tmp_path / "dress" / f"{number}.heif2.svg", b"")
    for name in ("notes.txt", "a.doc", "dress/Thumbs.db"):
        write(tmp_path / name, b"x")
    write(tmp_path / "dress" / "._0.png", b"AppleDouble")
    write(tmp_path / "__MACOSX" / "dress" / "0.png", b"x")
    (tmp_path / "dress" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = read(tmp_path)
    check(found)
    assert found.account.sentence == (
        "120 images, 10 classes, labelled by folder (exact names); skipped 15 (.svg 9, not an image 3, hidden 2,"
        " broken link 1)"
    )


def test_the_sentence_for_large_and_for_unlabelled_sets() -> None:
    assert (
        Account("x", 1200, "by folder (synsets)", 10).sentence
        == "1,200 images, 10 classes, labelled by folder (synsets)"
    )
    assert Account("x", 1).sentence == "1 image, without labels"


def test_a_class_of_which_nothing_is_taken_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path, NAMES[:9])
    write(tmp_path / "ankle boot" / "a.jxl", b"")
    write(tmp_path / "ankle boot" / "about.txt", b"words")
    (tmp_path / "bags").mkdir()
    write(tmp_path / "notes" / "about.txt", b"words")
    found = read(tmp_path)
    check(found, 108)
    assert "class folders 'ankle boot' (.jxl), 'bags' (empty)" in str(found.account)


def test_numbers_are_whole_with_a_class_of_which_nothing_is_taken(tmp_path: Path) -> None:
    class_folders(tmp_path, [str(number) for number in range(9)])
    write(tmp_path / "9" / "a.jxl", b"")
    check(read(tmp_path), 108)


def test_an_image_without_suffix_is_known_by_its_beginning(tmp_path: Path) -> None:
    class_folders(tmp_path, NAMES)
    for path in (tmp_path / "dress").iterdir():
        path.rename(path.with_suffix(""))
    write(tmp_path / "dress" / "LICENSE", b"text")
    check(read(tmp_path))


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    stored = class_folders(tmp_path / "stored", NAMES)
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in NAMES:
        (linked / name.upper()).symlink_to(stored / name)
    (linked / "again").symlink_to(stored / "dress")
    (linked / "DRESS" / "loop").symlink_to(linked)
    (linked / "up").symlink_to(tmp_path)
    found = read(linked)
    check(found)
    reasons = dict(found.account.reasons)
    assert reasons == {"link to a folder read already": 2, "link to a folder above": 1}


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    class_folders(tmp_path, NAMES)
    strange = os.fsdecode(os.fsencode(tmp_path / "dress") + b"/3-\xff.png")
    Path(strange).write_bytes(png(3))
    check(read(tmp_path), 121)


def test_links_in_a_circle_are_broken_ones(tmp_path: Path) -> None:
    class_folders(tmp_path, NAMES)
    (tmp_path / "dress" / "a").symlink_to("b")
    (tmp_path / "dress" / "b").symlink_to("a")
    (tmp_path / "dress" / "self.png").symlink_to("self.png")
    found = read(tmp_path)
    check(found)
    assert dict(found.account.reasons) == {"broken link": 3}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.zst", "a.h5"])
def test_what_may_be_full_of_images_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"x")
    with pytest.raises(UserError, match=rf"no images in .*there is \{Path(name).suffix}"):
        read(tmp_path)


Make = Callable[[Path], object]


def both_splits(root: Path) -> None:
    class_folders(root / "train", NAMES, each=2)
    class_folders(root / "val", NAMES)


LAYOUTS: dict[str, tuple[Make, str, str]] = {
    "class folders": (lambda root: class_folders(root, NAMES), "one subfolder a class", ""),
    "splits": (both_splits, "one subfolder a class, its split 'val'", "val"),
    "a split of shards": (
        lambda root: shard(root / "val" / "a.tar", [(f"{NAMES[n]}/{k}.png", png(n, k)) for k, n in enumerate(TRUTH)]),
        "the WebDataset shard a.tar, its split 'val'",
        "val",
    ),
    "a table": (
        lambda root: [
            write(root / "metadata.jsonl", "\n".join(
                json.dumps({"file_name": f"{k}.png", "label": NAMES[n]}) for k, n in enumerate(TRUTH)).encode()),
            *(write(root / f"{k}.png", png(n, k)) for k, n in enumerate(TRUTH)),
        ],
        "with the table metadata.jsonl",
        "",
    ),
    "a table without labels": (
        lambda root: [
            class_folders(root, NAMES),
            write(root / "metadata.csv", b"file_name,caption\n" + "".join(
                f"{NAMES[n]}/{n}-{k}.png,a\n" for n in range(10) for k in range(12)).encode()),
        ],
        "one subfolder a class",
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", [None, "label"])
def test_a_parquet_table_is_read_as_any_other(tmp_path: Path, label: str | None) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = NAMES if label is None else [f"part {letter}" for letter in "abcdefghij"]
    class_folders(tmp_path, names)
    files = [(f"{names[n]}/{n}-{k}.png", NAMES[n].upper()) for n in range(10) for k in range(12)]
    columns = {"file_name": [file for file, _ in files], label or "caption": [name for _, name in files]}
    parquet.write_table(pa.table(columns), tmp_path / "metadata.parquet")
    found = read(tmp_path)
    check(found)
    assert ("by column 'label' of metadata.parquet" if label else "by folder") in (found.account.labels or "")
    write(tmp_path / "metadata.parquet", b"PAR1 damaged PAR1")
    with pytest.raises(UserError, match=r"cannot read table .*metadata\.parquet"):
        read(tmp_path)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_layout_is_said(tmp_path: Path, kind: str) -> None:
    make, layout, used = LAYOUTS[kind]
    make(tmp_path)
    found = read(tmp_path)
    check(found)
    assert layout in found.account.layout
    assert used_part(tmp_path, Reading()) == tmp_path / used
    if kind == "a table without labels":
        assert "metadata.csv has no label column: the folders are the labels" in found.account.notes
    if kind == "splits":
        assert len(read(tmp_path, "calibration").images) == 20


def test_shards_of_upper_case_in_a_folder(tmp_path: Path) -> None:
    content = [(f"{NAMES[n]}/{k}.png", png(n, k)) for k, n in enumerate(TRUTH)]
    shard(tmp_path / "A.TAR", content[:60])
    shard(tmp_path / "b.tar.gz", content[60:], "w:gz")
    found = read(tmp_path)
    assert isinstance(found.images, Pictures)
    check(found)


CONFLICTS: dict[str, tuple[Make, str]] = {
    "a tar beside class folders": (
        lambda root: [class_folders(root, NAMES), shard(root / "a.tar", [("1.png", png(1))])],
        "'a.tar' beside the folder 'ankle boot'",
    ),
    "a tar beside an image": (
        lambda root: [write(root / "1.png", png(1)), shard(root / "a.tar", [("1.png", png(1))])],
        "'a.tar' beside the image '1.png'",
    ),
    "shards of two splits": (
        lambda root: [shard(root / f"set-{split}-000.tar", [("1.png", png(1))]) for split in ("train", "val")],
        "the splits train and val",
    ),
    "a class called test": (
        lambda root: class_folders(root, ["dress", "test"]),
        "folder 'test', which reads as a split, beside the folder 'dress'",
    ),
    "two tables": (
        lambda root: [
            write(root / "1.png", png(1)),
            *(write(root / name, b"filename,label\n1.png,dress\n") for name in ("a.csv", "b.csv")),
        ],
        "several tables of images .a.csv and b.csv",
    ),
    "a table and folders that disagree": (
        lambda root: [
            class_folders(root, ["dress", "bag"], each=1, labels=[3, 8]),
            write(root / "a.csv", b"filename,label\n3-0.png,bag\n8-0.png,dress\n"),
        ],
        "by column 'label' of a.csv and labels by folder, and they disagree",
    ),
    "parquet beside class folders": (
        lambda root: [class_folders(root, NAMES), write(root / "a.parquet", b"x")],
        "'a.parquet' beside the folder 'ankle boot'",
    ),
    "no image": (lambda root: write(root / "a.svg", b""), "no images in .* there is .svg"),
    "nothing there": (lambda root: root.rmdir(), "does not exist"),
    "a zip file": (lambda root: [root.rmdir(), write(root, b"PK")], "is a file: give"),
}


@pytest.mark.parametrize("kind", CONFLICTS)
def test_conflicts_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, words = CONFLICTS[kind]
    root = tmp_path / "set"
    root.mkdir()
    make(root)
    with pytest.raises(UserError, match=words):
        read(root)


def test_a_folder_called_test_is_a_class_where_the_network_has_one(tmp_path: Path) -> None:
    network = Network(("dress", "test", "train"), classes=3)
    check(read(class_folders(tmp_path, ["dress", "test", "train"]), network=network), 36)


def test_a_damaged_compressed_shard_is_named(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tgz", [("1.png", png(1))], "w:gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a\.tgz is truncated or damaged"):
        read(path)


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    class_folders(tmp_path, ["dress"], each=1)
    program = (
        "import sys\nfrom pathlib import Path\nfrom genq_export.data.reader import read_images\n"
        "from genq_export.data.raw import Reading\n"
        f"read_images(Path({str(tmp_path)!r}), None, Reading())\nassert 'torch' not in sys.modules\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
