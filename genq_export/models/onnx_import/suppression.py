"""Detectors that end in the suppression of overlapping boxes, which gives as many as it finds: cut in front of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_KIND = "NonMaxSuppression"


def in_front_of_suppression(
    path: Path, nodes: Sequence[Any], results: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put the boxes and scores that suppression reads in the place of outputs that depend on it.

    Args:
        path: of the file, for what is said.
        nodes: that compute.
        results: names of the file's outputs.

    Returns:
        Names of the outputs, and what was decided; as given where nothing is suppressed.
    """
    giver = {name: node for node in nodes for name in node.output}
    suppressed = {name: found for name in results if (found := _suppression(name, giver))}
    if not suppressed:
        return results, ()
    read = dict.fromkeys(name for found in suppressed.values() for node in found for name in node.input[:2])
    kept = tuple(name for name in results if name not in suppressed)
    note = (
        f"{path.name}: {', '.join(map(repr, suppressed))} come out of {_KIND}, which gives as many as it finds: the"
        f" outputs are what it reads, {', '.join(map(repr, read))}; suppress behind the deployed file"
    )
    return (*kept, *read), (note,)


def _suppression(result: str, giver: dict[str, Any]) -> list[Any]:
    """The first nodes of that kind on the way back from an output."""
    found, waiting, seen = list[Any](), [result], {result}
    while waiting:
        node = giver.get(waiting.pop())
        if node is None:
            continue
        if node.op_type == _KIND:
            found.append(node)
            continue
        fresh = [name for name in node.input if name and name not in seen]
        seen.update(fresh)
        waiting += fresh
    return found
