"""Class names out of a file, in the forms in which people have them; what form was found is said.

* text, one name a line, or an index or a synset in front of each name;
* JSON or YAML: a list, `{"0": name}`, `{name: 0}`, `{"0": [synset, name]}`, or one of these under `id2label`, …;
* a Python dictionary or list, whole or line by line;
* CSV or TSV with a column of names, and one of indices or synsets.

Nothing in the file is executed.
"""

import ast
import csv
import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genq_export.core.errors import UserError, reason_of
from genq_export.data.account import counted, shown
from genq_export.data.text_file import read_text

_WRAPPERS = ("id2label", "names", "classes", "class_names", "label2id", "class_to_idx", "categories", "labels")
_SYNSET = re.compile(r"n\d{8}")
_NUMBERED = re.compile(r"\s*(\d{1,18})(?:\s*[\s:,;=|]\s*|[.)]\s+)(\S.*?)\s*")
_NUMBER_LAST = re.compile(r"\s*(\S.*?)\s*[:,;=|]\s*(\d{1,18})\s*")
_SYNSET_FIRST = re.compile(r"\s*(n\d{8})[\s:,;]+(\S.*?)\s*")
_PAIR = re.compile(r"\s*\{?\s*['\"]?(\d+)['\"]?\s*:\s*(u?'(?:[^'\\]|\\.)*'|u?\"(?:[^\"\\]|\\.)*\")\s*,?\s*\}?\s*")
_INDEX_HEADS = ("index", "id", "idx", "class_id", "classid", "class_index", "label_id", "number", "no", "no.", "#", "")
_NAME_HEADS = ("name", "class_name", "classname", "class", "label", "label_name", "words", "description", "category")
_SYNSET_HEADS = ("synset", "wnid", "wordnet_id", "synset_id", "wordnet")


@dataclass(frozen=True)
class ClassNames:
    """Names in the order of their indices. form: what the file was read as. keys: index or synset of each, if stated.

    first: the number that the indices of the file count from.
    """

    names: tuple[str, ...]
    form: str
    keys: tuple[str, ...] | None = None
    first: int = 0

    def listing(self) -> dict[str, str]:
        """Names by key; by line, counted from 0, where the file states none."""
        keys = self.keys or tuple(map(str, range(len(self.names))))
        return dict(zip(keys, self.names, strict=True))


def read_class_names(path: Path) -> ClassNames:
    """Read a file of class names in any of the forms above; of synsets alone the names are WordNet's.

    Raises:
        UserError: where it is none of them, an index is missing, or a name is empty, twice there or only punctuation.
    """
    found = _read(path, (_structured, _table, _lines))
    return _of_synsets(found, path) if all(_SYNSET.fullmatch(name) for name in found.names) else found


def _of_synsets(found: ClassNames, path: Path) -> ClassNames:
    """The lemmas of ImageNet's synsets, which are known here."""
    from genq_export.data.wordnet import IMAGENET_CLASSES, first_lemma, imagenet

    lemmas = dict(zip(imagenet().synsets, imagenet().lemmas, strict=True))
    unknown = [synset for synset in found.names if synset not in lemmas]
    if unknown:
        raise UserError(f"{path} holds synsets alone, and {unknown[0]} is none of ImageNet's: give a name beside each")
    whole = len(found.names) == IMAGENET_CLASSES  # whose prompts take the first lemma by themselves
    names = tuple(lemmas[synset] if whole else first_lemma(lemmas[synset]) for synset in found.names)
    _check(names, path)
    return ClassNames(names, f"{found.form}, synsets alone: named by WordNet", found.names)


def read_listing(path: Path) -> ClassNames:
    """Read what the numbers, or names, of a data set stand for: as above, where text may name some numbers alone.

    Raises:
        UserError: as `read_class_names`.
    """
    return _read(path, (_numbered_lines, _structured, _table, _lines))


def _read(path: Path, readers: "Sequence[_Reader]") -> ClassNames:
    text, encoding = read_text(path, "class names")
    if not text.strip():
        raise UserError(f"{path} holds no class name: give one a line")
    found = next(found for reader in readers if (found := reader(text, path)) is not None)
    _check(found.names, path)
    return ClassNames(found.names, f"{found.form}, {encoding}", found.keys, found.first)


def _numbered_lines(text: str, path: Path) -> ClassNames | None:
    """`3 bag` on every line, for whichever numbers there are."""
    found = [_NUMBERED.fullmatch(line) for line in text.splitlines() if line.strip()]
    pairs = {int(line[1]): line[2] for line in found if line}
    if len(pairs) != len(found):
        return None
    return ClassNames(tuple(pairs.values()), "text, a number in front of each name", tuple(map(str, pairs)))


def _check(names: Sequence[str], path: Path) -> None:
    places = defaultdict[str, list[int]](list)
    for number, name in enumerate(names):
        if not name:
            raise UserError(f"class {number} in {path} has no name: give every class one")
        if not any(unicodedata.category(sign)[0] in "LN" for sign in name):
            raise UserError(f"the name '{shown(name)}' of class {number} in {path} is only punctuation: give it a word")
        places[unicodedata.normalize("NFC", name)].append(number)
    for name, numbers in places.items():
        if len(numbers) > 1 and not _twice_in_imagenet(numbers, len(names)):
            raise UserError(
                f"{path} names {counted(len(numbers), 'class')} '{shown(name)}' ({' and '.join(map(str, numbers))}):"
                " give each a name of its own"
            )


def _twice_in_imagenet(numbers: Sequence[int], classes: int) -> bool:
    """Have ImageNet's own classes of these numbers the same first lemma, such as its two cranes?"""
    from genq_export.data.wordnet import IMAGENET_CLASSES, first_lemma, imagenet

    if classes != IMAGENET_CLASSES:
        return False
    return len({first_lemma(imagenet().lemmas[number]).lower() for number in numbers}) == 1


def _structured(text: str, path: Path) -> ClassNames | None:
    """JSON, YAML by its suffix, or a literal of Python."""
    kind = _kind(text, path)
    if kind is None:
        return None
    form, load = kind
    try:
        content = load(text)
    except UserError:
        raise
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        lines = _python_lines(text, path) if form != "YAML" else None
        if lines is not None:
            return lines
        raise UserError(f"cannot read class names {path} as {form}: {reason_of(error)}") from None
    inner, form = _unwrapped(content, form)
    return _from_structure(inner, form, path)


def _kind(text: str, path: Path) -> tuple[str, Callable[[str], Any]] | None:
    if path.suffix.lower() in (".yaml", ".yml"):
        return "YAML", _load_yaml
    if path.suffix.lower() == ".json":
        return "JSON", _load_json
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        _load_json(text)
    except UserError:
        return "JSON", _load_json
    except (ValueError, RecursionError):
        return "a Python literal", ast.literal_eval
    return "JSON", _load_json


def _load_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise UserError(f"the key '{shown(twice)}' stands twice among the class names: remove one")
        return found

    return json.loads(text, object_pairs_hook=unique)


def _load_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(reason_of(error)) from None


def _unwrapped(content: Any, form: str) -> tuple[Any, str]:
    """What stands under `id2label` or another known key."""
    if isinstance(content, dict):
        for key in _WRAPPERS:
            if isinstance(content.get(key), dict | list):
                return content[key], f"{form}, {key}"
    return content, form


def _from_structure(content: Any, form: str, path: Path) -> ClassNames:
    if isinstance(content, list) and all(isinstance(item, dict) for item in content) and content:
        content = {item.get("id"): item.get("name") for item in content}
    if isinstance(content, list):
        return ClassNames(tuple(_name(item, path) for item in content), f"{form}, a list")
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no class names: give a list, or a name for each index")
    if all(_is_index(key) for key in content):
        return _ordered([(str(key), _name(value, path)) for key, value in content.items()], f"{form}, by index", path)
    if all(_is_index(value) for value in content.values()):
        pairs = [(str(value), _name(key, path)) for key, value in content.items()]
        return _ordered(pairs, f"{form}, index by name", path)
    if all(isinstance(key, str) and _SYNSET.fullmatch(key) for key in content):
        names = tuple(_name(value, path) for value in content.values())
        return ClassNames(names, f"{form}, by synset in the order of the file", tuple(content))
    strange = next(key for key in content if not _is_index(key))
    raise UserError(f"{path} has the key '{shown(str(strange))}' among its class names: give an index for each name")


def _is_index(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"\d+", str(value)) is not None


def _name(value: Any, path: Path) -> str:
    """A name; of `[synset, name]` the name."""
    if isinstance(value, list | tuple) and len(value) == 2 and _SYNSET.fullmatch(str(value[0])):
        value = value[1]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{path} holds {str(value)[:40]!r} where a class name should be: give text")
    return str(value).strip()


def _python_lines(text: str, path: Path) -> ClassNames | None:
    """`0: 'tench, Tinca tinca',` on every line, with or without braces around all."""
    lines = [line for line in text.splitlines() if line.strip() not in ("", "{", "}")]
    pairs = [_PAIR.fullmatch(line) for line in lines]
    if not lines or not all(pairs):
        return None
    found = [(pair[1], str(ast.literal_eval(pair[2])).strip()) for pair in pairs if pair is not None]
    return _ordered(found, "lines of a Python dictionary", path)


def _table(text: str, path: Path) -> ClassNames | None:
    """CSV or TSV by suffix, and TSV where every line has the same number of tabs."""
    lines = [line for line in text.splitlines() if line.strip()]
    tabs = {line.count("\t") for line in lines}
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv") and (tabs == {0} or len(tabs) != 1):
        return None
    delimiter = "\t" if suffix == ".tsv" or (len(tabs) == 1 and tabs != {0}) else _delimiter(lines)
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise UserError(
            f"{path} has rows of {min(widths)} and of {max(widths)} columns: quote names with '{delimiter}'"
        )
    head, rows = _head(rows)
    return _from_columns(head, rows, "TSV" if delimiter == "\t" else "CSV", path)


def _delimiter(lines: Sequence[str]) -> str:
    return ";" if all(line.count(";") == lines[0].count(";") > 0 for line in lines) and "," not in lines[0] else ","


def _head(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Headings, where the first row has some, and the rows below."""
    heads = [cell.lower().replace(" ", "_") for cell in rows[0]]
    known = {*_INDEX_HEADS, *_NAME_HEADS, *_SYNSET_HEADS} - {""}
    below = rows[1:]
    numbers_below = any(below and not row.isdigit() and all(line[place].isdigit() for line in below) for place, row in
                        enumerate(rows[0]))  # fmt: skip
    if below and (numbers_below or any(cell in known for cell in heads)):
        return heads, below
    return ["?"] * len(heads), rows


def _from_columns(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str, path: Path) -> ClassNames:
    columns = list(zip(*rows, strict=True))
    places = list(range(len(columns)))
    index = next((p for p in places if _is_range(columns[p]) and head[p] in (*_INDEX_HEADS, "?")), None)
    if index is None:
        stated = (p for p in places if head[p] in _INDEX_HEADS[:-1] and all(cell.isdecimal() for cell in columns[p]))
        index = next(stated, None)
    if index is None and len(columns) > 1:
        index = next((p for p in places if _is_range(columns[p])), None)
    if index is not None and len(columns) == 1:
        index = None
    synset = next((p for p in places if all(_SYNSET.fullmatch(cell) for cell in columns[p]) and len(columns) > 1), None)
    left = [place for place in places if place not in (index, synset)]
    named = [place for word in _NAME_HEADS for place in left if head[place] == word][:1] or left
    if len(named) != 1:
        called = ", ".join(f"'{head[place]}'" for place in left)
        raise UserError(f"{path} has {len(left)} columns that may be names ({called}): call one of them 'name'")
    names = [cell.strip() for cell in columns[named[0]]]
    if index is not None:
        return _ordered(list(zip(columns[index], names, strict=True)), f"{kind} with an index column", path)
    if synset is not None:
        form = f"{kind} with a synset column, in the order of the file"
        return ClassNames(tuple(names), form, tuple(columns[synset]))
    return ClassNames(tuple(names), f"{kind}, in the order of the file")


def _is_range(cells: Iterable[str]) -> bool:
    """Are these the numbers from 0 or from 1 on, each once?"""
    found = list(cells)
    count = len(found)
    numbers = [int(cell) for cell in found if re.fullmatch(r"\d{1,9}", cell)]
    return len(numbers) == count and sorted(numbers) in (
        list(range(len(numbers))),
        list(range(1, len(numbers) + 1)),
    )


def _lines(text: str, path: Path) -> ClassNames | None:
    """One name a line, or with an index or a synset in front of each."""
    lines = [line.strip() for line in text.strip().splitlines()]
    python = _python_lines(text, path)
    if python is not None:
        return python
    empty = next((number for number, line in enumerate(lines, start=1) if not line), None)
    if empty is not None:
        raise UserError(f"{path} has an empty line among its names, line {empty}: remove it, or name the class")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered) and _is_range([found[1] for found in numbered if found]):
        pairs = [(found[1], found[2]) for found in numbered if found]
        return _ordered(pairs, "text, an index in front of each name", path)
    behind = [_NUMBER_LAST.fullmatch(line) for line in lines]
    if all(behind) and _is_range([found[2] for found in behind if found]):
        return _ordered([(found[2], found[1]) for found in behind if found], "text, an index behind each name", path)
    synsets = [_SYNSET_FIRST.fullmatch(line) for line in lines]
    if all(synsets):
        keys, names = zip(*((found[1], found[2]) for found in synsets if found), strict=True)
        return ClassNames(names, "text, a synset in front of each name, in the order of the file", keys)
    return ClassNames(tuple(lines), "text, one name a line")


def _ordered(pairs: Sequence[tuple[str, str]], form: str, path: Path) -> ClassNames:
    """Names by their indices, which must be all of 0 … N−1 or all of 1 … N."""
    numbers = [int(index) for index, _ in pairs]
    if len(set(numbers)) != len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise UserError(f"{path} has the index {twice} more than once: give each class one")
    if not _is_range(map(str, numbers)):
        raise UserError(
            f"{path} has {len(numbers)} indices from {min(numbers)} to {max(numbers)}, some are missing: give every"
            " class a name, from 0 on"
        )
    ordered = sorted((number, name) for number, (_, name) in zip(numbers, pairs, strict=True))
    first = ordered[0][0]
    form = f"{form}, counted from {first}"
    return ClassNames(tuple(name for _, name in ordered), form, tuple(str(number) for number, _ in ordered), first)


_Reader = Callable[[str, Path], ClassNames | None]
