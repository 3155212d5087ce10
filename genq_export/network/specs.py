"""What describes a part of a network in a file: checked by type, range and sense before anything is built from it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from genq_export.network.grid import Grid
from genq_export.network.names import is_path

_LARGEST = 2**12  # of a stride, a padding, a dilation: far beyond any network
_LARGEST_SIZE = 2**31


def _path(text: str) -> str:
    if not is_path(text):
        raise ValueError("is no path of names")
    return text


Path = Annotated[str, AfterValidator(_path)]
Bits = Annotated[int, Field(ge=2, le=8)]
Shape = Annotated[list[Annotated[int, Field(ge=1, lt=_LARGEST_SIZE)]], Field(min_length=1, max_length=6)]
_Pair = Annotated[list[Annotated[int, Field(ge=1, le=_LARGEST)]], Field(min_length=2, max_length=2)]
_PairOrZero = Annotated[list[Annotated[int, Field(ge=0, le=_LARGEST)]], Field(min_length=2, max_length=2)]


class Spec(BaseModel):
    """Frozen, complete, nothing converted: `"8"` and `8.0` are no number of bits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Geometry(Spec):
    """How a convolution moves over its input; height before width."""

    stride: _Pair
    padding: _PairOrZero
    dilation: _Pair
    groups: int = Field(ge=1, lt=_LARGEST_SIZE)


class WeightedSpec(Spec):
    """A convolution or linear layer. weight_shape: [C, K / groups, kh, kw], or [C, K]. geometry: of convolutions."""

    kind: Literal["layer"] = "layer"
    name: Path
    op: Literal["conv2d", "linear"]
    bits: Bits
    bias_on_grid: bool
    geometry: Geometry | None
    weight_shape: Shape

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        convolution = self.op == "conv2d"
        if convolution != (self.geometry is not None) or len(self.weight_shape) != (4 if convolution else 2):
            raise ValueError(f"geometry and weight shape are not those of a {self.op}")
        return self

    def geometry_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a convolution; none for a linear layer."""
        return {} if self.geometry is None else self.geometry.model_dump()


def layer_spec(
    name: str,
    op: Literal["conv2d", "linear"],
    bits: int,
    bias_on_grid: bool,
    geometry: Mapping[str, Any],
    shape: Sequence[int],
) -> WeightedSpec:
    """The spec of a layer. geometry: keyword arguments of a convolution, or none."""
    moves: dict[str, Any] = {key: value if key == "groups" else list(value) for key, value in geometry.items()}
    return WeightedSpec(
        name=name,
        op=op,
        bits=bits,
        bias_on_grid=bias_on_grid,
        geometry=Geometry(**moves) if moves else None,
        weight_shape=list(shape),
    )


class ProductSpec(Spec):
    """The product of two activations."""

    kind: Literal["matmul"] = "matmul"
    name: Path


class FloatWeightSpec(Spec):
    """The weight of a layer that stays in float."""

    kind: Literal["kept"] = "kept"
    name: Path
    shape: Shape


class ActivationSpec(Spec):
    """An activation quantizer of the reference. hi: the largest code in use."""

    kind: Literal["activation"] = "activation"
    name: Path
    bits: Bits
    signed: bool
    asymmetric: bool
    hi: int

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        grid = Grid(self.bits, self.signed)
        if not grid.lo <= self.hi <= grid.hi or (self.signed and self.asymmetric):
            raise ValueError(f"a grid of {self.bits} bits has no such codes")
        return self


class QuantizerSpec(Spec):
    """An activation quantizer of the integer model, with the codes lo to hi."""

    kind: Literal["quantizer"] = "quantizer"
    name: Path
    bits: Bits
    signed: bool
    zero_point: int
    lo: int
    hi: int

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        grid = Grid(self.bits, self.signed)
        if not grid.lo <= self.lo <= self.hi <= grid.hi or not grid.lo <= self.zero_point <= grid.hi:
            raise ValueError(f"a grid of {self.bits} bits has no such codes")
        return self
