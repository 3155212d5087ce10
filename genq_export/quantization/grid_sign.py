"""Whether a tensor's grid is signed, counts up from zero, or has a zero-point: by what makes it, and what reads it.

A tensor that is never negative on a signed grid would waste every other code.
"""

import math
from collections.abc import Collection, Sequence

from torch import fx

from genq_export.config.target import TargetRule
from genq_export.network.aten import (
    AVERAGE_POOLS,
    NON_NEGATIVE_OPS,
    SHORT_NEGATIVE_TAIL_OPS,
    moves_numbers,
    op_name,
    readers_of,
)
from genq_export.quantization.layers import is_layer

_KEEPS_SIGN = (
    *AVERAGE_POOLS, "add", "mul", "cat", "upsample_nearest2d", "upsample_bilinear2d", "clone", "contiguous", "alias",
    "slice", "select",
)  # fmt: skip


def non_negative_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that give no number below zero, whatever the image: ReLU and the like, and what is summed or pooled of it.

    Nothing is known of constants.
    """
    found: set[fx.Node] = set()
    for node in graph.nodes:
        sources = node.all_input_nodes
        keeps = (op_name(node) in _KEEPS_SIGN and not _has_negative_number(node)) or moves_numbers(node)
        if _is_cut_at_zero(node) or (keeps and sources and found.issuperset(sources)):
            found.add(node)
    return found


def _is_cut_at_zero(node: fx.Node) -> bool:
    clamped = op_name(node) in ("hardtanh", "clamp") and _lower_end(node) >= 0
    return clamped or op_name(node) in NON_NEGATIVE_OPS


def _has_negative_number(node: fx.Node) -> bool:
    """Is a negative number written among what it adds or multiplies?"""
    numbers = [value for value in (*node.args[:2], *node.kwargs.values()) if isinstance(value, int | float)]
    return op_name(node) in ("add", "mul") and any(value < 0 for value in numbers)


def sign_of(
    roots: Sequence[fx.Node], bits: int, rule: TargetRule, non_negative: Collection[fx.Node]
) -> tuple[bool, bool]:
    """(signed, asymmetric) of the grid that tensors share; a concatenation has the sign of what it joins."""
    made = [root for root in roots if op_name(root) != "cat"] or roots
    short = [is_asymmetric(root, rule) for root in made]
    unlike = [root for root, is_short in zip(made, short, strict=True) if not is_short]
    signed = any(is_signed(root, bits, rule, non_negative) for root in unlike)
    return signed, any(short) and not signed


def is_signed(root: fx.Node, bits: int, rule: TargetRule, non_negative: Collection[fx.Node]) -> bool:
    """Does the grid of this tensor need negative codes, on this target?"""
    return root not in non_negative or not (bits <= rule.max_unsigned_bits or takes_shift(root))


def is_asymmetric(root: fx.Node, rule: TargetRule) -> bool:
    """May this tensor take a zero-point: its negative side is short, and the target deploys zero-points here."""
    return op_name(root) in SHORT_NEGATIVE_TAIL_OPS and (rule.zero_points == "native" or takes_shift(root))


def takes_shift(root: fx.Node) -> bool:
    """Can every reader of this tensor take its numbers shifted by a constant, exactly?

    A linear layer or an unpadded convolution can: its bias takes the shift back. Padding puts in zeros that are not
    shifted; additions, products of two activations and average pooling have no bias.
    """
    return all(is_layer(reader) and not _pads(reader) for reader in readers_of(root))


def _pads(layer: fx.Node) -> bool:
    padding = layer.args[4] if op_name(layer) == "conv2d" and len(layer.args) > 4 else [0]
    return padding != [0] * len(padding)  # type: ignore[arg-type]


def _lower_end(clamp: fx.Node) -> float:
    """Where a hardtanh or clamp begins, as far as its arguments say."""
    lower = clamp.args[1] if len(clamp.args) > 1 else None
    return float(lower) if isinstance(lower, int | float) else -math.inf
