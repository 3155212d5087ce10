"""Labels by name: right for all of 120 images, or refused with the folder and the nearest class."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export import zoo
from genq_export.core.errors import UserError
from genq_export.data.labels import LabelColumn, fold, match
from genq_export.data.raw import Reading
from genq_export.data.reader import ImageSet, read_images
from genq_export.data.wordnet import imagenet
from tests.data.sets import CLASSES, EACH, TRUTH, Network, class_folders, png, shard, shown, write

NAMES = zoo.CLASS_NAMES
ACCENTED = ("café crème", "Größe", "naïve", "dress, long")


def read(root: Path, network: Network | None = None, **reading: str) -> ImageSet:
    return read_images(root, network or Network(), Reading(**reading))  # type: ignore[arg-type]


def check(found: ImageSet, rule: str = "", images: int = CLASSES * EACH) -> None:
    assert found.labels is not None and len(found.labels) == len(found.images) == images
    assert found.labels.tolist() == shown(found.images)
    assert rule in (found.account.labels or "")


FOLDER_NAMES: dict[str, tuple[Callable[[str], str], str]] = {
    "exact": (str, "exact names"),
    "upper case": (str.upper, "by case"),
    "title": (str.title, "by case"),
    "underscore": (lambda name: name.replace(" ", "_").replace("-", "_"), "by case"),
    "hyphen": (lambda name: name.replace(" ", "-"), "by case"),
    "Ankle_boot": (lambda name: name.capitalize().replace(" ", "_"), "by case"),
    "double space": (lambda name: f"{name}  ".replace(" ", "  "), "by case"),
}


@pytest.mark.parametrize("kind", FOLDER_NAMES)
def test_folders_named_as_people_write_classes(tmp_path: Path, kind: str) -> None:
    rename, rule = FOLDER_NAMES[kind]
    check(read(class_folders(tmp_path, [rename(name) for name in NAMES])), rule)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_folders_in_either_unicode_form(tmp_path: Path, form: str) -> None:
    network = Network(ACCENTED, classes=len(ACCENTED))
    names = [unicodedata.normalize(form, name) for name in ACCENTED]  # type: ignore[arg-type]
    check(read(class_folders(tmp_path, names), network), images=len(ACCENTED) * EACH)


@pytest.mark.parametrize("names", [range(10), [f"{n:05}" for n in range(10)]], ids=["0 to 9", "00000 to 00009"])
def test_a_whole_set_of_numbers_is_indices(tmp_path: Path, names: list[object]) -> None:
    check(read(class_folders(tmp_path, list(map(str, names)))), "all numbers of 0 to 9")


@pytest.mark.parametrize(
    ("numbers", "option", "said"),
    [
        (range(1, 11), "index1", "the numbers 1 to 10"),
        (range(2, 10), "index0", "the numbers 2 to 9"),
        ([3, 8], "index0", "numbers from 3 to 8"),
    ],
)
def test_other_numbers_are_refused_with_a_remedy_that_works(
    tmp_path: Path, numbers: list[int], option: str, said: str
) -> None:
    labels = [number - int(option[-1]) for number in numbers]
    class_folders(tmp_path, list(map(str, numbers)), labels=labels)
    with pytest.raises(UserError, match=f"{said}.*--labels {option}"):
        read(tmp_path)
    check(read(tmp_path, labels=option), "as --labels says", images=len(labels) * EACH)
    (tmp_path / "classes.txt").write_text("".join(f"{number} {NAMES[number - int(option[-1])]}\n" for number in range(
        int(option[-1]), 10 + int(option[-1]))))  # fmt: skip
    check(read(tmp_path), "through classes.txt", images=len(labels) * EACH)


LISTINGS = {
    "of every number": ("classes.txt", "0 t-shirt\n1 trouser\n2 pullover\n3 dress\n8 bag\n"),
    "of these alone": ("classes.txt", "3 dress\n8 bag\n"),
    "with colons": ("classes.txt", "8: bag\n03: dress\n"),
    "a table of all": ("classes.txt", "index\tname\n" + "".join(f"{k}\t{name}\n" for k, name in enumerate(NAMES))),
}


@pytest.mark.parametrize("kind", LISTINGS)
@pytest.mark.parametrize("layout", ["folders", "a split", "shards", "a shard", "a table"])
def test_a_listing_says_what_numbers_stand_for_in_every_layout(tmp_path: Path, kind: str, layout: str) -> None:
    truth = [3, 3, 8]
    members = [(f"{number}.png", png(label, number)) for number, label in enumerate(truth)]
    labels = [(f"{number}.cls", str(label).encode()) for number, label in enumerate(truth)]
    match layout:
        case "folders":
            class_folders(tmp_path, ["3", "8"], each=2, labels=[3, 8])
        case "a split":
            class_folders(tmp_path / "val", ["3", "8"], each=2, labels=[3, 8])
        case "shards" | "a shard":
            shard(tmp_path / "a.tar", [*members, *labels])
        case _:
            write(tmp_path / "a.csv", b"file,label\n" + b"".join(b"%d.png,%d\n" % pair for pair in enumerate(truth)))
            [write(tmp_path / name, content) for name, content in members]
    name, text = LISTINGS[kind]
    (tmp_path / name).write_text(text)
    found = read(tmp_path / "a.tar" if layout == "a shard" else tmp_path)
    check(found, "exact names through classes.txt", images=4 if layout in ("folders", "a split") else 3)


def test_lines_without_numbers_count_from_0_only_where_0_is_there(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    class_folders(tmp_path, ["3", "8"], labels=[3, 8])
    with pytest.raises(UserError, match="first line may be 0 or 1"):
        read(tmp_path)
    class_folders(tmp_path, ["0"], labels=[0])
    check(read(tmp_path), "through classes.txt, its lines counted from 0", images=36)


def test_numbers_beyond_the_classes(tmp_path: Path) -> None:
    class_folders(tmp_path, ["0", "10", "11"])
    with pytest.raises(UserError, match="name them as the classes"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"has the label 10 .*counted from 0"):
        read(tmp_path, labels="index0")


def test_numbers_that_are_class_names_are_names(tmp_path: Path) -> None:
    network = Network(tuple(map(str, reversed(range(10)))))
    found = read(class_folders(tmp_path, ["9", "8"]), network)
    assert found.labels is not None and sorted(set(found.labels.tolist())) == [0, 1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["ankle boots"], "'ankle boots'; the nearest class is 'ankle boot'"),
        (["dress", "zebra"], "folder 'zebra'; the nearest class is"),
        (["dress", "bag", "3"], "'3'"),
        (["dres", "bags"], "2 of 2 labels .*'bags'; the nearest class is 'bag'"),
    ],
)
def test_a_folder_that_fits_nothing_is_named_with_the_nearest_class(
    tmp_path: Path, names: list[str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        read(class_folders(tmp_path, names))


def test_order_is_never_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fit no class"):
        read(class_folders(tmp_path, [f"kind {letter}" for letter in "abcdefghij"]))


def test_two_folders_of_one_class_are_said(tmp_path: Path) -> None:
    found = read(class_folders(tmp_path, ["Dress", "dress"], labels=[3, 3]))
    check(found, images=24)
    assert "'Dress', 'dress' were read as one class" in str(found.account)


def test_a_folder_around_the_set_is_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "data", ["dress", "bag"], labels=[3, 8])
    with pytest.raises(UserError, match=f"or give {tmp_path / 'data'}"):
        read(tmp_path)
    check(read(tmp_path / "data"), images=24)


def test_a_network_without_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--classes FILE"):
        read(class_folders(tmp_path, ["dress"]), Network(None))


@pytest.fixture(scope="module")
def imagenet_network() -> Network:
    return Network(imagenet().lemmas, classes=1000)


def test_200_of_1000_synsets(tmp_path: Path, imagenet_network: Network) -> None:
    chosen = imagenet().synsets[::5]
    for number, synset in enumerate(chosen):
        write(tmp_path / synset / "a.png", png(number % 10))
    found = read(tmp_path, imagenet_network)
    assert found.labels is not None and found.labels.tolist() == list(range(0, 1000, 5))
    assert "synsets" in (found.account.labels or "")


@pytest.mark.parametrize(
    ("name", "label"),
    [("tench", 0), ("Great_White_Shark", 2), ("tench, Tinca tinca", 0), ("n03126707", 517), ("n02012849", 134)],
)
def test_imagenet_by_lemma_and_synset(imagenet_network: Network, name: str, label: int) -> None:
    assert match(LabelColumn.of("by folder", [name]), imagenet_network, None, "x").index == {name: label}


@pytest.mark.parametrize(
    ("name", "synsets"),
    [
        ("crane", "n02012849 or n03126707"),
        ("cardigan", "n02113186 or n02963159"),
        ("maillot", "n03710637 or n03710721"),
    ],
)
def test_two_classes_of_one_name_need_synsets(imagenet_network: Network, name: str, synsets: str) -> None:
    with pytest.raises(UserError, match=synsets):
        match(LabelColumn.of("by folder", [name]), imagenet_network, None, "x")


def test_whole_names_of_both_are_no_doubt(imagenet_network: Network) -> None:
    column = LabelColumn.of("by folder", ["cardigan", "Cardigan, Cardigan Welsh corgi"])
    assert sorted(match(column, imagenet_network, None, "x").index.values()) == [264, 474]


def test_a_name_twice_among_a_network_s_own(tmp_path: Path) -> None:
    network = Network(("crane", "crane", "bag"), classes=3)
    with pytest.raises(UserError, match=r"several classes of net \(0 and 1\)"):
        read(class_folders(tmp_path, ["crane", "bag"]), network)
    check(read(class_folders(tmp_path / "n", ["0", "1", "2"]), network), images=36)


@given(st.text(max_size=20))
def test_folding_folds_once(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert fold(name.replace(" ", "_")) == fold(name)


def members(labelled: Callable[[int], list[tuple[str, bytes]]], image: str) -> list[tuple[str, bytes]]:
    """120 samples; a label's name ends where the image's does."""
    found = []
    for place, label in enumerate(TRUTH):
        key = image.format(place=place, name=NAMES[label], label=label)
        stem = key.rpartition(".")[0]
        found += [(key, png(label, place)), *((stem + end, content) for end, content in labelled(label))]
    return found


SHARDS: dict[str, tuple[Callable[[int], list[tuple[str, bytes]]], str, str]] = {
    "numbers in .cls": (lambda n: [(".cls", f"{n}\n".encode())], "{place}.png", "by .cls"),
    "names in .cls": (lambda n: [(".cls", NAMES[n].title().encode())], "{place}.png", "by .cls"),
    "upper case": (lambda n: [(".CLS", f"{n}".encode())], "{place}.PNG", "by .cls"),
    "names in .txt": (lambda n: [(".txt", NAMES[n].encode())], "{place}.png", "by .txt"),
    "captions beside .cls": (
        lambda n: [(".txt", f"a photo {n}".encode()), (".cls", f"{n}".encode())], "{place}.png", "by .cls",
    ),
    "label in .json": (lambda n: [(".json", json.dumps({"label": n}).encode())], "{place}.png", "by .json 'label'"),
    "class_id in .json": (lambda n: [(".json", b'{"class_id": %d}' % n)], "{place}.png", "by .json 'class_id'"),
    "bare number in .json": (lambda n: [(".json", b"%d" % n)], "{place}.png", "by .json"),
    "dots in names": (lambda n: [(".cls", b"%d" % n)], "v1.{place}.x.png", "by .cls"),
    "label up to the first dot": (lambda n: [], "{place}.left.png", ""),
    "class folders": (lambda n: [], "./{name}/{place}.png", "by folder in the tar file"),
    "class folders below one": (lambda n: [], "set/val/{name}/{place}.png", "by folder in the tar file"),
    "number folders": (lambda n: [], "{label}/{place}.png", "by folder in the tar file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHARDS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_shards(tmp_path: Path, kind: str, mode: str) -> None:
    labelled, image, rule = SHARDS[kind]
    content = members(labelled, image)
    if kind == "label up to the first dot":
        content += [(f"{place}.cls", b"%d" % label) for place, label in enumerate(TRUTH)]
    suffix = ".tar.gz" if mode == "w:gz" else ".tar"
    check(read(shard(tmp_path / f"a{suffix}", content, mode)), rule)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({".cls": "{n}", ".json": '{{"label": {m}}}'}, r"by \.cls and labels by \.json 'label', and they disagree"),
        ({".cls": "{m1}"}, "the numbers 1 to 10"),
        ({".json": '{{"label": [1, 2]}}'}, "several labels"),
    ],
)
def test_shards_in_doubt_are_refused(tmp_path: Path, labels: dict[str, str], words: str) -> None:
    def labelled(n: int) -> list[tuple[str, bytes]]:
        return [(end, text.format(n=n, m=9 - n, m1=n + 1).encode()) for end, text in labels.items()]

    path = shard(tmp_path / "a.tar", members(labelled, "{place}.png"))
    with pytest.raises(UserError, match=words):
        read(path)
    if "{m1}" in labels.values():
        check(read(path, labels="index1"))
    if ".json" in labels and ".cls" in labels:
        check(read(path, label_column=".cls"))


def table(root: Path, head: str, row: str, name: str = "labels.csv") -> Path:
    """120 files in `images/` and a table of them; `row` is formatted with place, label, name."""
    rows = []
    for place, label in enumerate(TRUTH):
        write(root / "images" / f"{place}.png", png(label, place))
        rows.append(row.format(place=place, label=label, name=NAMES[label], one=label + 1))
    (root / name).write_text("\n".join([head, *rows] if head else rows) + "\n")
    return root


TABLES = {
    "filename,label": ("filename,label", "images/{place}.png,{name}", "labels.csv"),
    "names of files alone": ("filename,label", "{place}.png,{name}", "labels.csv"),
    "ids without suffix": ("id,label", "{place},{name}", "train.csv"),
    "numbers": ("file,class_id", "{place}.png,{label}", "labels.csv"),
    "no heading": ("", "{place}.png,{name}", "labels.csv"),
    "tabs": ("filename\tlabel", "{place}.png\t{name}", "labels.tsv"),
    "semicolons": ("filename;label", "{place}.png;{name}", "labels.csv"),
    "Windows paths": ("path,category", "images\\{place}.png,{name}", "a.csv"),
    "metadata.csv": ("file_name,label,caption", 'images/{place}.png,{name},"a, b"', "metadata.csv"),
    "metadata.jsonl": ("", '{{"file_name": "images/{place}.png", "label": {label}}}', "metadata.jsonl"),
    "two columns that agree": ("filename,label,class", "{place}.png,{label},{name}", "labels.csv"),
    "a coarse class beside it": ("filename,category,label", "{place}.png,clothes,{name}", "labels.csv"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(tmp_path: Path, kind: str) -> None:
    head, row, name = TABLES[kind]
    check(read(table(tmp_path, head, row, name)), "by column")


@pytest.mark.parametrize(
    ("head", "row", "words"),
    [
        ("filename,label,class", "{place}.png,{label},{one}", "numbers 1 to 10|disagree"),
        ("filename,label", "{place}.jpg,{name}", "120 of 120 files that .* are not in"),
        ("filename,label", "{place}.png,", None),
        ("filename,label", "{place}.png,{one}", "--labels index1"),
        ("filename,label", "1.png,{name}", "names 1.png more than once"),
        ("image,mask,label", "{place}.png,{place}.png,{name}", "several columns of images .image, mask."),
    ],
)
def test_tables_in_doubt_are_refused(tmp_path: Path, head: str, row: str, words: str | None) -> None:
    table(tmp_path, head, row)
    if words is None:
        assert read(tmp_path, label_column="label").labels is None
    elif "class" in head:
        check(read(tmp_path), "by column 'label'")  # the other is no set of indices, and this is said
        assert "'class' of labels.csv fit no class" in str(read(tmp_path).account)
    else:
        with pytest.raises(UserError, match=words):
            read(tmp_path)


def test_two_columns_that_disagree_and_the_choice_of_one(tmp_path: Path) -> None:
    table(tmp_path, "filename,label,class", "{place}.png,{name},dress")
    with pytest.raises(UserError, match=r"by column 'label'.* by column 'class'.*disagree.*--label-column"):
        read(tmp_path)
    check(read(tmp_path, label_column="label"), "by column 'label'")
    with pytest.raises(UserError, match="has no column 'nonsense'"):
        read(tmp_path, label_column="nonsense")
