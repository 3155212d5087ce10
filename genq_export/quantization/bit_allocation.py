"""Bits layer by layer: the defaults, the first and the last layer, overrides by pattern, and what stays in float."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError

_SHOWN = 8


@dataclass(frozen=True)
class LayerBits:
    """What one layer or activation product gets.

    weight_bits: of its weight (products have none); activation_bits: asked of its inputs; excluded_by: the pattern that
    keeps it in float, or None.
    """

    weight_bits: int
    activation_bits: int
    excluded_by: str | None = None


def bits_by_name(
    layers: Sequence[str], products: Sequence[str], config: QuantizeConfig, last: Collection[str] | None = None
) -> dict[str, LayerBits]:
    """Decide for every layer and activation product by name.

    Args:
        layers: In the order they run; the first and the last get `first_last_bits`. `config.layers` overrides by
            fnmatch pattern, later entries win, the first and the last layers included.
        products: In any order.
        last: The layers that an output ends in, where that is not the last one alone.

    Raises:
        UserError: for a pattern that fits nothing.
    """
    names = [*layers, *products]
    for pattern in (*config.layers, *config.keep_float):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"no layer fits the pattern '{pattern}'; there are {_listed(names)}")
    ends = {layers[0], *(layers[-1:] if last is None else last)} if layers else set()
    return {name: _bits(name, name in ends, config) for name in names}


def _bits(name: str, is_end: bool, config: QuantizeConfig) -> LayerBits:
    weight_bits = config.first_last_bits if is_end else config.weight_bits
    activation_bits = config.first_last_bits if is_end else config.activation_bits
    for pattern, override in config.layers.items():
        if fnmatchcase(name, pattern):
            weight_bits = override.weight_bits or weight_bits
            activation_bits = override.activation_bits or activation_bits
    excluded_by = next((pattern for pattern in config.keep_float if fnmatchcase(name, pattern)), None)
    return LayerBits(weight_bits, activation_bits, excluded_by)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
