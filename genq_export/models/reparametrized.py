"""Weights that a file holds in two parts, as pruning and weight normalization train them: put together again."""

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def joined(tensors: "Mapping[str, Tensor]", expected: Container[str]) -> "tuple[dict[str, Tensor], tuple[str, ...]]":
    """Replace the two parts of a weight by the weight, where the network has the weight and not the parts.

    Args:
        tensors: by the network's names.
        expected: names that the network has.

    Returns:
        All tensors, and a note for each kind of part that was found.
    """
    found, notes = dict(tensors), []
    for (first, second), (join, note) in _KINDS.items():
        names = [name for name in map(_whole(first), found) if name is not None and name in expected]
        pairs = {name: (_part(name, first), _part(name, second)) for name in names}
        whole = {
            name: join(found[one], found[two])
            for name, (one, two) in pairs.items()
            if name not in found and two in found and one not in expected and _fit(found[one], found[two])
        }
        if whole:
            found = {name: tensor for name, tensor in found.items() if not any(name in pairs[own] for own in whole)}
            found |= whole
            notes.append(f"{note} ({len(whole)} weights)")
    return found, tuple(notes)


def normalized(norms: "Tensor", direction: "Tensor") -> "Tensor":
    """Weight normalization (Salimans and Kingma 2016, equation 2): w = g · v / ‖v‖.

    Args:
        norms: g, [K, 1, …] with one norm for each index of one dimension, or a single one for all of the weight.
        direction: v, [K, …], of the weight's shape.

    Returns:
        float32, of the weight's shape.
    """
    g, v = norms.float(), direction.float()
    over = [dim for dim in range(v.ndim) if g.ndim == 0 or g.shape[dim] == 1]
    weight: Tensor = g * v / torch.linalg.vector_norm(v, dim=over, keepdim=True)
    return weight


def _fit(one: "Tensor", two: "Tensor") -> bool:
    """Is one of them as large as the other, or one number wide where it is not?"""
    small, large = sorted((one, two), key=torch.Tensor.numel)
    return small.ndim in (0, large.ndim) and all(
        own in (1, other) for own, other in zip(small.shape, large.shape, strict=False)
    )


def _masked(weight: "Tensor", mask: "Tensor") -> "Tensor":
    return weight * mask.to(weight.dtype)


# How the parts of `fc.weight` are called, and what they are; `{}` stands for the last word of its name.
_KINDS: "dict[tuple[str, str], tuple[Callable[[Tensor, Tensor], Tensor], str]]" = {
    ("{}_orig", "{}_mask"): (_masked, "the masks of pruning were applied"),
    ("{}_g", "{}_v"): (normalized, "weight normalization was multiplied out"),
    ("parametrizations.{}.original0", "parametrizations.{}.original1"): (
        normalized,
        "weight normalization was multiplied out",
    ),
}


def _part(name: str, form: str) -> str:
    module, dot, word = name.rpartition(".")
    return f"{module}{dot}{form.format(word)}"


def _whole(form: str) -> Callable[[str], str | None]:
    """The name of the weight of which a tensor is the part of this form; None for any other tensor."""
    before, after = form.split("{}")

    def name_of(part: str) -> str | None:
        head, found, word = (
            part.removesuffix(after).rpartition(before) if before else ("", "", part.removesuffix(after))
        )
        return f"{head}{word}" if part.endswith(after) and (found or not before) else None

    return name_of
