"""What is computed from what in the deployed file, as far as a person wants to see it."""

from collections.abc import Sequence
from pathlib import Path

from genq_export.core.errors import BackendError
from genq_export.network.onnx_graph import QuantizerNode, quantizers, read_model
from genq_export.quantization.summary import QuantizeSummary
from runtime_tests.report.model import TensorFacts


def deployed_graph(file: Path, quantized: QuantizeSummary | None) -> tuple[TensorFacts, ...]:
    """Every quantized tensor of an ONNX file in the order they are computed, then the layers that end in an output.

    Empty where the file cannot be read; what is wrong with it others say.
    """
    try:
        found = quantizers(read_model(file))
    except BackendError:
        return ()
    bits = {item.name: item.bits for item in quantized.quantizers} if quantized is not None else {}
    tensors = [
        TensorFacts(name=item.name, reads=item.inputs, layers=item.layers, bits=bits.get(item.name)) for item in found
    ]
    weight_bits = {item.name: item.weight_bits for item in quantized.layers} if quantized is not None else {}
    return (*tensors, *_last(found, weight_bits))


def _last(found: Sequence[QuantizerNode], weight_bits: dict[str, int]) -> list[TensorFacts]:
    """Layers that read quantized tensors and end in no other."""
    inside = {layer for item in found for layer in item.layers}
    reads: dict[str, list[str]] = {}
    for item in found:
        for layer in item.feeds:
            if layer not in inside:
                reads.setdefault(layer, []).append(item.name)
    return [
        TensorFacts(name=layer, reads=tuple(sources), layers=(layer,), bits=weight_bits.get(layer))
        for layer, sources in reads.items()
    ]
