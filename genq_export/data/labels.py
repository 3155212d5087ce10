"""Names and numbers of a data set become classes of the network: by name, never by order.

A name is looked for as it is; then without regard to case, Unicode form and whether its words are parted by spaces,
hyphens or underscores; then, for a network of ImageNet's classes, as a synset and as a first lemma. Numbers are indices
where exactly 0 … N−1 are there, or where the user says from where they count.
"""

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from genq_export.core.errors import UserError
from genq_export.data.account import counted, listed, shown
from genq_export.data.class_names import ClassNames
from genq_export.data.classifier import Classes
from genq_export.data.wordnet import first_lemma, of_network

_NUMBER = re.compile(r"-?[0-9]{1,18}")  # more digits are a name: no network has so many classes
_SPACES = re.compile(r"[\s_\-/–—]+")
FIRST_INDEX = {"index0": 0, "index1": 1}
_MANY = 0.5  # similarity of the nearest class that an error names


@dataclass(frozen=True)
class LabelColumn:
    """What a source says of its images' classes in one place.

    origin: the place, as in "labelled …": `by folder`, `by column 'label'`. values: of each image a name, a number as
    text, or None. names: every value there is, images or not. numbers: of each image, where values are names that a
    data set numbers itself. doubtful: text that need not be a class, such as a caption: where nothing of it fits it
    counts as no label.
    """

    origin: str
    values: tuple[str | None, ...]
    names: tuple[str, ...]
    numbers: tuple[int | None, ...] | None = None
    doubtful: bool = False

    @classmethod
    def of(cls, origin: str, values: Iterable[str | None], doubtful: bool = False) -> "LabelColumn":
        """A column of which nothing is known but its values."""
        found = tuple(values)
        names = tuple(sorted({value for value in found if value is not None}))
        return cls(origin, found, names, doubtful=doubtful)


@dataclass(frozen=True)
class Matching:
    """Class index by name, and the rule in words, with what a person should know beside it."""

    index: Mapping[str, int]
    rule: str
    notes: tuple[str, ...] = ()


def match(column: LabelColumn, network: Classes, listing: ClassNames | None, source: object) -> Matching:
    """The class of every name of a column.

    Args:
        column: the names.
        network: its classes.
        listing: what a `classes.txt` of the source calls each number or name; None without one.
        source: what an error calls it.

    Raises:
        UserError: for a name that fits no class or several, and for numbers that are not all there.
    """
    names = column.names
    if not all(_NUMBER.fullmatch(name) for name in names):
        called = {} if listing is None else listing.listing()
        return _by_name(names, network, called, column.origin, source)
    known = set(network.class_names or ())
    if all(name in known for name in names):
        return _by_name(names, network, {}, column.origin, source)
    if listing is not None:
        matching = _by_name(names, network, _by_number(listing, names, source), column.origin, source)
        return matching if listing.keys else replace(matching, rule=f"{matching.rule}, its lines counted from 0")
    return _by_whole_set(names, network, column.origin, source)


def by_index(column: LabelColumn, network: Classes, first: int, source: object) -> Matching:
    """The class of every number of a column that counts from `first`.

    Raises:
        UserError: for what is no number, and for one beyond the classes.
    """
    option = f"--labels index{first}"
    strange = [name for name in column.names if not _NUMBER.fullmatch(name)]
    if strange:
        raise UserError(f"{option} takes numbers, {source} has {listed(strange)} {column.origin}: leave the option out")
    index = {name: int(name) - first for name in column.names}
    beyond = [name for name, number in index.items() if not 0 <= number < network.classes]
    if beyond:
        raise UserError(
            f"{source} has the label {shown(beyond[0])} {column.origin}, but counted from {first} the {network.classes}"
            f" classes of {network.name} are {first} to {network.classes - 1 + first}"
        )
    return Matching(index, f"numbers counted from {first}, as --labels says")


def fold(name: str) -> str:
    """A name without regard to case, Unicode form and what parts its words."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", name)).strip().casefold()


def _by_whole_set(names: Sequence[str], network: Classes, origin: str, source: object) -> Matching:
    numbers = [int(name) for name in names]
    if sorted(numbers) == list(range(network.classes)):
        return Matching(dict(zip(names, numbers, strict=True)), f"all numbers of 0 to {network.classes - 1}")
    low, high = min(numbers), max(numbers)
    said = f"the numbers {low} to {high}" if len(set(numbers)) == high - low + 1 else f"numbers from {low} to {high}"
    options = [
        f"--labels {option}" for option, first in FIRST_INDEX.items() if low >= first and high < network.classes + first
    ]
    if not options:
        raise UserError(
            f"{source} has {said} as labels {origin}, and {network.name} has {network.classes} classes: name them as"
            " the classes"
        )
    raise UserError(
        f"{source} has {said} as labels {origin}, not exactly 0 to {network.classes - 1} as {network.name} counts its"
        f" classes: give {' or '.join(options)}, or a classes.txt in the folder with the name of each number"
    )


def _by_number(listing: ClassNames, names: Sequence[str], source: object) -> dict[str, str]:
    """The listing under the numbers as a source has them (`01`). Lines alone count from 0, where 0 is there."""
    if listing.keys is None and all(int(name) != 0 for name in names):
        raise UserError(
            f"classes.txt in {source} has no numbers, and the labels have no 0, so its first line may be 0 or 1: put"
            " the number in front of each name, as `1 dress`"
        )
    by_number = {int(key): name for key, name in listing.listing().items() if _NUMBER.fullmatch(key)}
    missing = [name for name in names if int(name) not in by_number]
    if missing:
        raise UserError(f"classes.txt in {source} has no name for {listed(missing)}: add one for every number")
    return {name: by_number[int(name)] for name in names}


def _by_name(
    names: Sequence[str], network: Classes, listing: Mapping[str, str], origin: str, source: object
) -> Matching:
    if not network.class_names:
        raise UserError(
            f"{source} has the class names {listed(names)} {origin} and {network.name} has none: give them with"
            " --classes FILE, one name a line"
        )
    levels = _levels(network)
    index, rules, strange = dict[str, int](), Counter[str](), list[str]()
    for name in names:
        called = listing.get(name, name)
        found = next(((rule, hits) for rule, table in levels if (hits := table.get(_key(rule, called)))), None)
        if found is None:
            strange.append(name)
            continue
        rule, hits = found
        if len(hits) > 1:
            raise UserError(_ambiguous(called, hits, network, source))
        index[name] = hits[0]
        rules[rule] += 1
    if strange:
        raise UserError(_unknown(strange, listing, len(names), network, origin, source))
    _check_first_lemmas(index, listing, network, source)
    return Matching(index, _said(rules, bool(listing)), tuple(_doubles(index)))


_EXACT, _FOLDED, _SYNSET, _LEMMA = "exact names", "by case, space, hyphen or Unicode form", "synsets", "first lemmas"


def _key(rule: str, name: str) -> str:
    return name if rule in (_EXACT, _SYNSET) else fold(name)


def _levels(network: Classes) -> list[tuple[str, dict[str, list[int]]]]:
    names = network.class_names or ()
    levels = [(_EXACT, _table(names)), (_FOLDED, _table(map(fold, names)))]
    known = of_network(network.class_names, network.classes)
    if known is not None:
        levels += [(_SYNSET, _table(known.synsets)), (_LEMMA, _table(fold(first_lemma(one)) for one in known.lemmas))]
    return levels


def _check_first_lemmas(index: Mapping[str, int], listing: Mapping[str, str], network: Classes, source: object) -> None:
    """Raise UserError for a name that may mean another class: ImageNet's `cardigan` and `Cardigan, … Welsh corgi`.

    Where the other class is there under a name of its own, there is no doubt.
    """
    known = of_network(network.class_names, network.classes)
    if known is None:
        return
    firsts = _table(fold(first_lemma(one)) for one in known.lemmas)
    there = set(index.values())
    for name in index:
        called = listing.get(name, name)
        hits = firsts.get(fold(called), [])
        if len(hits) > 1 and not there.issuperset(hits):
            raise UserError(_ambiguous(called, hits, network, source))


def _table(keys: Iterable[str]) -> dict[str, list[int]]:
    table = defaultdict[str, list[int]](list)
    for number, key in enumerate(keys):
        table[key].append(number)
    return dict(table)


def _said(rules: Counter[str], listing: bool) -> str:
    listed_in = " through classes.txt" if listing else ""
    if len(rules) == 1:
        return f"{next(iter(rules))}{listed_in}"
    return ", ".join(f"{count} {rule}" for rule, count in rules.most_common()) + listed_in


def _doubles(index: Mapping[str, int]) -> Iterable[str]:
    together = defaultdict[int, list[str]](list)
    for name, number in index.items():
        together[number].append(name)
    for same in together.values():
        if len(same) > 1:
            yield f"{listed(same, len(same))} were read as one class"


def _ambiguous(name: str, hits: Sequence[int], network: Classes, source: object) -> str:
    known = of_network(network.class_names, network.classes)
    numbers = " and ".join(map(str, hits))
    if known is None:
        return (
            f"'{shown(name)}' in {source} is the name of several classes of {network.name} ({numbers}): use all the"
            " numbers in its place, or give each class a name of its own with --classes"
        )
    synsets = " or ".join(known.synsets[number] for number in hits)
    return (
        f"'{shown(name)}' in {source} is the name of {counted(len(hits), 'class')} of {network.name}: call it {synsets}"
    )


def _unknown(
    strange: Sequence[str], listing: Mapping[str, str], total: int, network: Classes, origin: str, source: object
) -> str:
    first = strange[0]
    called = listing.get(first, first)
    place = origin.removeprefix("by ")
    label = "folder" if place == "folder" else f"label of {place}:"
    many = f"{len(strange)} of {total} labels in {source} fit no class of {network.name}, the first is {label}"
    one = f"{source} has a label that fits no class of {network.name}: {label}"
    near = _nearest(called, network)
    hint = f"the nearest class is '{near}'" if near else f"its classes are {listed(network.class_names or ())}"
    via = f" (number {first} in classes.txt)" if called != first else ""
    return f"{one if len(strange) == 1 else many} '{shown(called)}'{via}; {hint}: rename it"


def _nearest(name: str, network: Classes) -> str | None:
    """The class whose name, or one of whose lemmas, is most like it."""
    names = {fold(part): whole for whole in reversed(network.class_names or ()) for part in (*whole.split(","), whole)}
    close = difflib.get_close_matches(fold(name), names, n=1, cutoff=_MANY)
    return names[close[0]] if close else None
