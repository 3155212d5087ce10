"""Whether a tensor's grid is signed, counts up from zero, or has a zero-point: by what makes it, and what reads it."""

import math
from collections.abc import Sequence

from torch import fx

from genq_export.config.target import TargetRule
from genq_export.network.aten import NON_NEGATIVE_OPS, SHORT_NEGATIVE_TAIL_OPS, op_name, readers_of
from genq_export.quantization.layers import is_layer


def sign_of(roots: Sequence[fx.Node], bits: int, rule: TargetRule) -> tuple[bool, bool]:
    """(signed, asymmetric) of the grid that tensors share; a concatenation has the sign of what it joins."""
    made = [root for root in roots if op_name(root) != "cat"] or roots
    short = [is_asymmetric(root, rule) for root in made]
    signed = any(is_signed(root, bits, rule) for root, is_short in zip(made, short, strict=True) if not is_short)
    return signed, any(short) and not signed


def is_signed(root: fx.Node, bits: int, rule: TargetRule) -> bool:
    """Does the grid of this tensor need negative codes, on this target?"""
    clamped = op_name(root) in ("hardtanh", "clamp") and _lower_end(root) >= 0
    holds = bits <= rule.max_unsigned_bits or takes_shift(root)
    return not ((clamped or op_name(root) in NON_NEGATIVE_OPS) and holds)


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
