"""What the quantize stage tells the stages behind it: grids, costs and errors, as frozen models.

Written into the manifest by the stage and validated when it is read. Importing this module does not import torch.
"""

from typing import Any

from pydantic import Field, model_validator

from genq_export.config.base import Frozen
from genq_export.config.quantize import LayerOverride
from genq_export.network.free_size import FreeSize


class LayerGrid(Frozen):
    """Grids of a quantized layer and of its input.

    Attributes:
        name: path of the layer in the network.
        op: `conv2d` or `linear`.
        weight_bits: of the symmetric signed grid of its weights.
        input: name of the quantizer that it reads.
        input_bits: bits of that quantizer's grid.
        input_signed: whether that grid is signed.
        input_zero_point: code of the input that stands for 0.
        weight_shape: output channels first.
    """

    name: str
    op: str
    weight_bits: int
    input: str
    input_bits: int
    input_signed: bool
    input_zero_point: int
    weight_shape: tuple[int, ...]

    @model_validator(mode="before")
    @classmethod
    def _without_sqnr(cls, values: Any) -> Any:
        """Leave out what version 0.1 wrote and nothing read."""
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if name != "weight_sqnr_db"}
        return values


class QuantizerGrid(Frozen):
    """Grid of an activation tensor."""

    name: str
    bits: int
    signed: bool
    scale: float
    zero_point: int


class UnquantizedOperator(Frozen):
    """An operator that computes in float, and why."""

    name: str
    op: str
    reason: str


class LayerCost(Frozen):
    """KL(float || float with one layer quantized), in nats, mean over the images.

    Attributes:
        name: of the layer.
        weight_bits: None where its weight stayed in float.
        activation_bits: None where its input stayed in float.
        kl: the divergence.
    """

    name: str
    weight_bits: int | None
    activation_bits: int | None
    kl: float


class BlockError(Frozen):
    """Mean squared error of a quantized block on the calibration images, before and after reconstruction."""

    before: float
    after: float


class TrainingHistory(Frozen):
    """Held-out KL to the float network by epoch, in nats, the solution that training began with first."""

    held_out_kl: tuple[float, ...] = ()


class RefittedMlp(Frozen):
    """Two linear layers that had GELU between them and have ReLU now.

    Attributes:
        name: of the module.
        error: squared error on calibration images, as a share of the square of what the float network gives.
    """

    name: str
    error: float


class Findings(Frozen):
    """What methods add to the summary; a method sets the fields that it has something to say in."""

    relu_refit: tuple[RefittedMlp, ...] = ()
    assigned_bits: dict[str, LayerOverride] = Field({})
    blocks: dict[str, BlockError] = Field({})
    qat: TrainingHistory = TrainingHistory()

    def together_with(self, other: "Findings") -> "Findings":
        """These findings, and those that `other` sets in their place."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class QuantizeSummary(Findings):
    """What the quantize stage hands on.

    Attributes:
        images: how many images it was calibrated on.
        layers: in the order they run.
        quantizers: in the order of the graph's modules.
        unquantized: what computes in float.
        dead: names of tensors that were zero on every image.
        sensitivity: the most expensive layer first; empty where it was not measured.
        relu_refit: where ReLU stands in the place of GELU.
        assigned_bits: bits that a budget assigned, by layer.
        blocks: errors of reconstructed blocks, by name.
        qat: empty where nothing was trained.
        free_size: in which other sizes the network takes images; None: in none.
    """

    images: int
    layers: tuple[LayerGrid, ...]
    quantizers: tuple[QuantizerGrid, ...]
    unquantized: tuple[UnquantizedOperator, ...] = ()
    dead: tuple[str, ...] = ()
    sensitivity: tuple[LayerCost, ...] = ()
    free_size: FreeSize | None = None
