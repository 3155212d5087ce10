"""Small networks built by hand, node by node: nothing here is traced, so nothing takes time."""

import operator
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx

from genq_export.network.fake_quant import INPUT_NAME, ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.files import save_reference
from genq_export.network.float_weight import FloatWeight
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import part_name, scale_name, tensor_name

torch.set_num_threads(1)
GEOMETRY = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}


def _quantizer(name: str, signed: bool = True, scale: float = 0.1) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(name, 8, signed)
    quantizer.scale.fill_(scale)
    return quantizer


def _convolution(name: str, generator: torch.Generator) -> QuantizedLayer:
    weight = torch.randn(4, 4, 3, 3, generator=generator)
    layer = QuantizedLayer(name, "conv2d", 4, weight, torch.randn(4, generator=generator), True, **GEOMETRY)
    layer.weight_scale.fill_(0.25)
    layer.round_weight()
    return layer


@pytest.fixture
def quantizer() -> Callable[..., ActivationQuantizer]:
    """An 8-bit activation quantizer by name, with a scale."""
    return _quantizer


@pytest.fixture
def convolution() -> Callable[[str, torch.Generator], QuantizedLayer]:
    """A 4-bit convolution of 4 channels to 4 that keeps the size."""
    return _convolution


@pytest.fixture
def network() -> GraphNetwork:
    """Every kind of part: [B, 4, 5, 5] -> [B, 5, 5].

    A convolution on codes, a ReLU, a constant, a float convolution that was kept, a product of two activations, a size.
    """
    generator = torch.Generator().manual_seed(0)
    graph = fx.Graph()
    network = GraphNetwork(graph, {})
    parts = [_quantizer(name, signed) for name, signed in ((INPUT_NAME, True), ("act", False))]
    calls = [network.add(part_name("quantizer", part.name), part) for part in parts]
    layer = network.add(part_name("layer", "stem.conv"), _convolution("stem.conv", generator))
    product = network.add(part_name("product", "attn"), QuantizedMatMul("attn"))
    kept = network.add(part_name("kept", "last"), FloatWeight("last", torch.randn(4, 4, 1, 1, generator=generator)))
    shift = network.add(part_name("constant", "shift"), torch.randn(4, 1, 1, generator=generator))
    x = graph.placeholder("x")
    size = graph.call_function(torch.ops.aten.sym_size.int, (x, 0))
    first = graph.call_module(calls[0], (x,))
    sums = graph.call_module(layer, (first, graph.get_attr(scale_name(calls[0]))))
    active = graph.call_function(torch.ops.aten.relu.default, (sums,))
    codes = graph.call_module(calls[1], (active,))
    scale = graph.get_attr(scale_name(calls[1]))
    attended = graph.call_module(product, (codes, scale, codes, scale))
    moved = graph.call_function(torch.ops.aten.add.Tensor, (attended, graph.get_attr(shift)), {"alpha": 0.5})
    last = graph.call_function(torch.ops.aten.conv2d.default, (moved, graph.get_attr(tensor_name(kept, "weight"))))
    halves = graph.call_function(torch.ops.aten.chunk.default, (last, 2, 1))
    second = graph.call_function(operator.getitem, (halves, 1))
    half = graph.call_function(torch.ops.aten.select.int, (second, 1, 0))
    shaped = graph.call_function(torch.ops.aten.reshape.default, (half, [size, 5, -1]))
    graph.output(shaped)
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    """Noise, float32 [3, 4, 5, 5]."""
    return torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path: Path, network: GraphNetwork) -> Path:
    """A network that was stored as a reference."""
    save_reference(network, tmp_path)
    return tmp_path
