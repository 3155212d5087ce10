"""What grids a prepared network has, for the summary."""

from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.sensitivity import input_quantizers
from genq_export.quantization.summary import LayerGrid, QuantizerGrid


def layer_grids(gm: GraphNetwork) -> tuple[LayerGrid, ...]:
    """Of every quantized layer, in the order they run."""
    return tuple(
        LayerGrid(
            name=layer.name,
            op=layer.op,
            weight_bits=layer.grid.bits,
            input=quantizer.name,
            input_bits=quantizer.grid.bits,
            input_signed=quantizer.grid.signed,
            input_zero_point=int(quantizer.zero_point),
            weight_shape=tuple(layer.weight.shape),
        )
        for layer, quantizer in input_quantizers(gm)
    )


def quantizer_grids(gm: GraphNetwork) -> tuple[QuantizerGrid, ...]:
    """Of every activation quantizer, in the order of the modules."""
    return tuple(
        QuantizerGrid(
            name=part.name,
            bits=part.grid.bits,
            signed=part.grid.signed,
            scale=float(part.scale),
            zero_point=int(part.zero_point),
        )
        for part in gm.modules()
        if isinstance(part, ActivationQuantizer)
    )
