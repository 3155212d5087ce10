"""Class names in every form in which people have them: the right names and their form, or one line of refusal."""

import codecs
import json
from pathlib import Path

import pytest

from genq_export.core.errors import UserError
from genq_export.data.class_names import read_class_names
from genq_export.data.wordnet import imagenet, of_network, short_names

NAMES = ("dress, long", "ankle boot", "Größe")
LINES = "\n".join(NAMES)
INDEXED = dict(enumerate(NAMES))

GOOD: dict[str, tuple[str, bytes, str]] = {
    "text": ("a.txt", LINES.encode(), "text, one name a line, UTF-8"),
    "text, end of file": ("a.txt", (LINES + "\r\n\n").encode(), "one name a line"),
    "byte-order mark": ("a.txt", codecs.BOM_UTF8 + LINES.encode(), "byte-order mark"),
    "UTF-16": ("a.txt", LINES.encode("utf-16"), "UTF-16"),
    "UTF-16 without mark": ("a.txt", LINES.encode("utf-16-le"), "UTF-16 without"),
    "Latin-1": ("a.txt", LINES.encode("latin-1"), "Latin-1"),
    "indices": ("a.txt", "".join(f"{k} {v}\n" for k, v in INDEXED.items()).encode(), "an index in front"),
    "indices from 1": ("a.txt", "".join(f"{k + 1}: {v}\n" for k, v in INDEXED.items()).encode(), "counted from 1"),
    "synsets": ("a.txt", "".join(f"n0000000{k} {v}\n" for k, v in INDEXED.items()).encode(), "a synset in front"),
    "JSON list": ("a.json", json.dumps(NAMES).encode(), "JSON, a list"),
    "JSON by index": ("a.json", json.dumps({str(k): v for k, v in INDEXED.items()}).encode(), "JSON, by index"),
    "id2label": ("config.json", json.dumps({"model": 1, "id2label": {str(k): v for k, v in INDEXED.items()}}).encode(),
                 "JSON, id2label, by index"),
    "index by name": ("a.json", json.dumps({v: k for k, v in INDEXED.items()}).encode(), "index by name"),
    "Keras": ("a.json", json.dumps({str(k): [f"n0000000{k}", v] for k, v in INDEXED.items()}).encode(), "by index"),
    "unordered": ("a.json", json.dumps({str(k): INDEXED[k] for k in (2, 0, 1)}).encode(), "by index"),
    "COCO": ("a.json", json.dumps({"categories": [{"id": k, "name": v} for k, v in INDEXED.items()]}).encode(), "JSON"),
    "JSON called .txt": ("a.txt", json.dumps(NAMES).encode(), "JSON, a list"),
    "YAML": ("data.yaml", b"nc: 3\nnames:\n" + "".join(f"  {k}: '{v}'\n" for k, v in INDEXED.items()).encode(),
             "YAML, names"),
    "Python dictionary": ("a.txt", repr(INDEXED).encode(), "Python literal, by index"),
    "the gist's lines": ("a.txt", ("{" + ",\n ".join(f"{k}: {v!r}" for k, v in INDEXED.items()) + "}").encode(),
                         "Python literal, by index"),
    "the gist's lines without braces": ("a.txt", ",\n".join(f"{k}: {v!r}" for k, v in INDEXED.items()).encode(),
                                        "lines of a Python dictionary"),
    "CSV": ("a.csv", b'index,name\n0,"dress, long"\n1,ankle boot\n2,Gr\xc3\xb6\xc3\x9fe\n', "CSV with an index column"),
    "CSV out of order": ("a.csv", 'id;name\n2;Größe\n0;dress, long\n1;ankle boot\n'.encode(), "with an index column"),
    "CSV without heading": ("a.csv", '0,"dress, long"\n1,ankle boot\n2,Größe\n'.encode(), "with an index column"),
    "CSV with synsets": ("a.csv",
                         'wnid,words\nn00000001,"dress, long"\nn00000002,ankle boot\nn00000003,Größe\n'.encode(),
                         "with a synset column"),
    "CSV of one column": ("a.csv", 'class\n"dress, long"\nankle boot\nGröße\n'.encode(), "CSV"),
    "TSV": ("a.tsv", "0\tdress, long\n1\tankle boot\n2\tGröße\n".encode(), "TSV with an index column"),
    "tabs in a text": ("a.txt", "0\tdress, long\n1\tankle boot\n2\tGröße\n".encode(), "TSV with an index column"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_every_form(tmp_path: Path, kind: str) -> None:
    name, content, form = GOOD[kind]
    path = tmp_path / name
    path.write_bytes(content)
    found = read_class_names(path)
    assert found.names == NAMES
    assert form in found.form


@pytest.mark.parametrize(
    "line", ["{0}. {1}", "{0}) {1}", "{0}: {1}", "{0} {1}", "{1},{0}", "{1}, {0}", "{1}; {0}", "{1}\t{0}", "{1}={0}"]
)
@pytest.mark.parametrize("first", [0, 1])
def test_an_index_before_or_behind_each_name(tmp_path: Path, line: str, first: int) -> None:
    path = tmp_path / "a.txt"
    numbered = reversed(list(enumerate(NAMES, start=first)))
    path.write_text("\n".join(line.format(number, name) for number, name in numbered))
    assert read_class_names(path).names == NAMES


def test_synsets_alone_are_named_by_wordnet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("n02504458\nn01440764\n")
    found = read_class_names(path)
    assert found.names == ("African elephant", "tench") and found.keys == ("n02504458", "n01440764")
    assert "synsets alone" in found.form
    path.write_text("n02504458\nn99999999\n")
    with pytest.raises(UserError, match="n99999999 is none of ImageNet's: give a name beside each"):
        read_class_names(path)


@pytest.mark.parametrize("names", [("terminal 1", "terminal 2"), ("2 wheels", "4 wheels"), ("1.5 t", "3.5 t")])
def test_numbers_that_belong_to_a_name_stay(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(names))
    assert read_class_names(path).names == names


BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.txt", b"\n\n", "holds no class name"),
    "a name twice": ("a.txt", b"a\nb\na\n", r"names 2 classes 'a' \(0 and 2\)"),
    "twice in two Unicode forms": ("a.txt", "é\ne\u0301\n".encode(), "names 2 classes"),
    "an empty line": ("a.txt", b"a\n\nb\n", "an empty line among its names, line 2"),
    "an empty name": ("a.json", b'["a", ""]', "class 1 in .* has no name"),
    "only punctuation": ("a.txt", b"a\n--\n", "'--' of class 1 .* only punctuation"),
    "an index missing": ("a.json", b'{"0": "a", "2": "b"}', "some are missing"),
    "an index twice": ("a.csv", b"id,name\n0,a\n0,b\n", "the index 0 more than once"),
    "a key twice": ("a.json", b'{"0": "a", "0": "b"}', "key '0' stands twice"),
    "damaged JSON": ("a.json", b'["a", ', "as JSON"),
    "no names": ("a.json", b'{"a": {"b": 1}}', "has the key 'a'|class name should be"),
    "a number": ("a.json", b"3", "holds no class names"),
    "a call": ("a.txt", b"{0: __import__('os').system('true')}", "Python literal"),
    "nested without end": ("a.txt", b"[" * 100_000, "cannot read class names"),
    "no text": ("a.txt", b"\x00\x01\x02\x03\xff", "no text of a known encoding"),
    "ragged": ("a.csv", b"0,dress, long\n1,bag\n", "rows of 2 and of 3 columns"),
    "several columns": ("a.csv", b"this,that\na,b\nc,d\n", "2 columns that may be names"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_none_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    name, content, words = BAD[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_class_names(path)
    assert "\n" not in str(error.value)


def test_imagenet_s_two_cranes_are_no_error(tmp_path: Path) -> None:
    """The gist has both under one name, as timm does."""
    lemmas = imagenet().lemmas
    (tmp_path / "a.txt").write_text("{" + ",\n".join(f"{k}: {v!r}" for k, v in enumerate(lemmas)) + "}")
    found = read_class_names(tmp_path / "a.txt")
    assert found.names == lemmas and of_network(found.names, 1000) == imagenet()
    wrong = list(lemmas)
    wrong[7] = wrong[3]
    (tmp_path / "b.json").write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=r"\(3 and 7\)"):
        read_class_names(tmp_path / "b.json")


def test_commas_are_cut_in_imagenet_s_lemmas_alone() -> None:
    assert short_names(("dress, long", "bag")) == ("dress, long", "bag")
    mixed = [*imagenet().lemmas]
    mixed[3] = "dress, long"
    assert short_names(mixed)[:4] == ("tench", "goldfish", "great white shark", "dress, long")


def test_a_key_that_is_half_a_letter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text('{"\\ud800": "coat", "1": "bag"}')
    with pytest.raises(UserError, match=r"\\ud800"):
        read_class_names(path)
