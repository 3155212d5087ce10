"""A quantized network on disk: what is read equals what was written; what was tampered with is refused, not run."""

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, fx, nn

from export.fold import fold
from genq_export.core.errors import UserError
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.files import (
    INTEGER_FILES,
    REFERENCE_FILES,
    load_integer_model,
    load_reference,
    save_integer_model,
    save_reference,
)
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import part_name, scale_name
from genq_export.network.serialization import check_storable

aten = torch.ops.aten
TENSORS, STRUCTURE = REFERENCE_FILES
GEOMETRY: dict[str, Any] = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}


def test_a_reference_and_its_integer_model_come_back_as_they_were(
    tmp_path: Path, network: GraphNetwork, images: Tensor
) -> None:
    assert save_reference(network, tmp_path) == [*REFERENCE_FILES]
    reference = load_reference(tmp_path)
    integer = fold(reference)
    save_integer_model(integer, tmp_path)
    with torch.no_grad():
        expected = network(images)
        for again in (reference, integer, load_integer_model(tmp_path)):
            assert type(again) is type(network) and not again.training
            assert torch.equal(again(images), expected) and torch.equal(again(images[:1]), expected[:1])


def test_an_integer_model_holds_no_float_weight_of_a_quantized_layer(tmp_path: Path, network: GraphNetwork) -> None:
    save_integer_model(fold(network), tmp_path)
    layer = part_name("layer", "stem.conv")
    weights = {name: tensor for name, tensor in load_file(tmp_path / INTEGER_FILES[0]).items() if tensor.dim() > 1}
    assert {tensor.dtype for name, tensor in weights.items() if name.startswith(layer)} == {torch.int8}


class _Drawn:
    """A random network over tensors [B, 4, 5, 5], one operation after the other, each on tensors made before."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.graph = fx.Graph()
        self.network = GraphNetwork(self.graph, {})
        self.made = [self.graph.placeholder("x")]

    def pick(self, number: int) -> fx.Node:
        return self.made[number % len(self.made)]

    def quantized(self, source: fx.Node) -> tuple[fx.Node, fx.Node]:
        quantizer = ActivationQuantizer(f"q.{len(self.graph.nodes)}", 8, signed=True)
        quantizer.scale.fill_(0.05)
        name = self.network.add(part_name("quantizer", quantizer.name), quantizer)
        return self.graph.call_module(name, (source,)), self.graph.get_attr(scale_name(name))

    def layer(self, source: fx.Node) -> fx.Node:
        weight = torch.randn(4, 4, 3, 3, generator=self.generator) / 4
        layer = QuantizedLayer(f"l.{len(self.graph.nodes)}", "conv2d", 4, weight, None, True, **GEOMETRY)
        layer.weight_scale.fill_(0.1)
        layer.round_weight()
        return self.graph.call_module(self.network.add(part_name("layer", layer.name), layer), self.quantized(source))

    def product(self, a: fx.Node, b: fx.Node) -> fx.Node:
        part = QuantizedMatMul(f"p.{len(self.graph.nodes)}")
        name = self.network.add(part_name("product", part.name), part)
        return self.graph.call_module(name, (*self.quantized(a), *self.quantized(b)))

    def step(self, kind: str, a: int, b: int) -> None:
        x, y, call = self.pick(a), self.pick(b), self.graph.call_function
        constant = "constant_c", torch.randn(4, 1, 1, generator=self.generator)
        made: dict[str, Callable[[], fx.Node]] = {
            "relu": lambda: call(aten.relu.default, (x,)),
            "gelu": lambda: call(aten.gelu.default, (x,), {"approximate": "tanh"}),
            "clamp": lambda: call(aten.clamp.default, (x, -1.5, float("inf"))),
            "add": lambda: call(aten.add.Tensor, (x, y), {"alpha": 2}),
            "scale": lambda: call(aten.mul.Tensor, (x, 0.5)),
            "constant": lambda: call(aten.mul.Tensor, (x, self.graph.get_attr(self.network.add(*constant)))),
            "chunk": lambda: call(
                aten.cat.default,
                ([call(operator.getitem, (call(aten.chunk.default, (x, 2, 1)), part)) for part in (1, 0)], 1),
            ),
            "softmax": lambda: call(aten.softmax.int, (x, -1, torch.float32)),
            "type": lambda: call(aten.to.dtype, (call(aten.gt.Scalar, (x, 0)), torch.float32)),
            "shape": lambda: call(
                aten.reshape.default,
                (call(aten.flatten.using_ints, (x, 1)), [call(aten.sym_size.int, (x, 0)), 4, 5, -1]),
            ),
            "layer": lambda: self.layer(x),
            "product": lambda: self.product(x, y),
        }  # fmt: skip
        self.made.append(made[kind]())


KINDS = (
    "relu", "gelu", "clamp", "add", "scale", "constant", "chunk", "softmax", "type", "shape", "layer", "product",
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(0, 1000))
def test_what_is_written_is_what_is_read_and_written_again(
    tmp_path: Path, steps: list[tuple[str, int, int]], seed: int
) -> None:
    drawn = _Drawn(seed)
    for step in steps:
        drawn.step(*step)
    drawn.graph.output(drawn.made[-1])
    drawn.network.remove_unused()
    images = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(seed))
    for name in ("a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
    save_reference(drawn.network, tmp_path / "a")
    again = load_reference(tmp_path / "a")
    save_reference(again, tmp_path / "b")
    with torch.no_grad():
        expected = drawn.network(images)
        assert torch.equal(again(images), expected)
        assert torch.equal(fold(again)(images), expected)
    for name in REFERENCE_FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("target", "args", "said"),
    [
        (aten.bernoulli.p, (0.5,), "operator 'bernoulli.p' of module 'blocks.0.drop' is not among those"),
        (aten.relu_.default, (), "operator 'relu_.default' of module 'blocks.0.drop'"),
        (torch.cond, (), "operator 'python.cond' of module 'blocks.0.drop'"),
        (aten.softmax.int, (torch.channels_last,), "operator 'softmax.int' of module 'blocks.0.drop': argument 'dim'"),
    ],
)
def test_an_operator_that_cannot_be_stored_is_named_with_its_module(
    tmp_path: Path, target: Any, args: tuple[Any, ...], said: str
) -> None:
    graph = fx.Graph()
    node = graph.call_function(target, (graph.placeholder("x"), *args))
    node.meta["nn_module_stack"] = {"key": ("blocks.0.drop", nn.Dropout)}
    graph.output(node)
    network = GraphNetwork(graph, {})
    for act in (check_storable, lambda network: save_reference(network, tmp_path)):
        with pytest.raises(UserError, match=said):
            act(network)  # type: ignore[no-untyped-call]
    assert list(tmp_path.iterdir()) == []
