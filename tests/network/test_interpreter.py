"""A network that is walked node by node computes what generated source computes, and can be cut and rewritten."""

import copy
import operator
import weakref

import pytest
import torch
from torch import Tensor, fx, nn

from genq_export.core.errors import UserError
from genq_export.network.aten import op_name
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.hooks import record_codes, set_quantization
from genq_export.network.interpreter import GraphNetwork, from_captured
from genq_export.network.names import part_name

relu, add = torch.ops.aten.relu.default, torch.ops.aten.add.Tensor


def test_it_computes_what_generated_source_computes(network: GraphNetwork, images: Tensor) -> None:
    generated = fx.GraphModule(network, copy.deepcopy(network.graph))
    with torch.no_grad():
        assert torch.equal(network(images), generated(images))
        assert torch.equal(network(images[:1]), network(images)[:1])


def test_gradients_flow_through_it(network: GraphNetwork, images: Tensor) -> None:
    set_quantization(network, False)
    x = images.clone().requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None and float(x.grad.abs().max()) > 0


def test_hooks_of_parts_see_every_call(network: GraphNetwork, images: Tensor) -> None:
    answer, codes = record_codes(network, images)
    with torch.no_grad():
        assert set(codes) == {"input", "act"} and torch.equal(answer, network(images))
    assert int(codes["act"].min()) >= 0 and codes["act"].dtype == torch.int32


def test_it_is_exported_as_any_module(network: GraphNetwork, images: Tensor) -> None:
    set_quantization(network, False)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    assert torch.equal(program.module()(images[:2]), network(images[:2]))


def test_a_value_is_dropped_behind_its_last_reader() -> None:
    alive: list[int] = []
    held: list[weakref.ref[Tensor]] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = x + 1
            held.append(weakref.ref(made))
            alive.append(sum(reference() is not None for reference in held))
            return made

    graph = fx.Graph()
    value = graph.placeholder("x")
    for number in range(6):
        value = graph.call_module(f"layer_{number}", (value,))
    graph.output(value)
    GraphNetwork(graph, {f"layer_{number}": Watch() for number in range(6)})(torch.zeros(2))
    assert max(alive) <= 2


def test_a_copy_is_rewritten_alone_and_shares_its_parts(network: GraphNetwork, images: Tensor) -> None:
    before = network(images)
    other = network.copy()
    name = part_name("quantizer", "act")
    assert getattr(other, name) is getattr(network, name)
    wider = ActivationQuantizer("act", 8, False)
    wider.scale.fill_(3.0)
    other.replace(name, wider)
    for node in other.graph.nodes:
        if node.target == relu:
            node.target = torch.ops.aten.neg.default
    assert torch.equal(network(images), before) and not torch.equal(other(images), before)


def test_a_deep_copy_shares_nothing(network: GraphNetwork, images: Tensor) -> None:
    other = copy.deepcopy(network)
    for tensor in other.state_dict().values():
        tensor.zero_()
    assert not torch.equal(network(images), torch.zeros_like(network(images)))


def test_a_piece_holds_what_its_nodes_name(network: GraphNetwork, images: Tensor) -> None:
    graph = fx.Graph()
    name = part_name("quantizer", "input")
    graph.output(graph.call_module(name, (graph.placeholder("x"),)))
    piece = network.over(graph)
    assert list(piece.parts()) == [name] and [*piece.state_dict()] == [f"{name}.scale", f"{name}.zero_point"]
    assert torch.equal(piece(images), getattr(network, name)(images))


def test_what_nobody_reads_goes(network: GraphNetwork, images: Tensor) -> None:
    before, expected = set(network.parts()), network(images)
    network.add("constant_loose", torch.zeros(3))
    first = next(node for node in network.graph.nodes if node.op == "placeholder")
    with network.graph.inserting_after(first):
        network.graph.call_function(relu, (first,))
    count = len(network.graph.nodes)
    network.remove_unused()
    assert len(network.graph.nodes) == count - 1 and set(network.parts()) == before
    assert not hasattr(network, "constant_loose") and torch.equal(network(images), expected)


def test_names_that_are_taken_get_a_number() -> None:
    network = GraphNetwork(fx.Graph(), {})
    assert [network.add("layer_a", nn.ReLU()) for _ in range(3)] == ["layer_a", "layer_a_2", "layer_a_3"]


@pytest.mark.parametrize("name", ["forward", "graph", "a.b", "a b", "", "training", "to", "__class__"])
def test_a_name_that_something_has_or_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a part"):
        GraphNetwork(fx.Graph(), {name: torch.zeros(1)})


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(3))
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x + self.shift) * self.shift
        return y


def test_a_captured_graph_becomes_flat_and_shares_its_tensors() -> None:
    module = Small().eval()
    network = from_captured(trace(module))
    x = torch.randn(2, 3)
    assert torch.equal(network(x), module(x))
    assert set(network.state_dict()) == {"constant_shift", "constant_inner__weight", "constant_inner__bias"}
    assert getattr(network, "constant_shift").data_ptr() == module.shift.data_ptr()  # noqa: B009
    assert {op_name(node) for node in network.graph.nodes if op_name(node)} == {"add", "linear", "mul"}


def trace(module: nn.Module) -> fx.GraphModule:
    graph = fx.Graph()
    x, shift = graph.placeholder("x"), graph.get_attr("shift")
    moved = graph.call_function(add, (x, shift))
    weights = graph.get_attr("inner.weight"), graph.get_attr("inner.bias")
    y = graph.call_function(torch.ops.aten.linear.default, (moved, *weights))
    graph.output(graph.call_function(torch.ops.aten.mul.Tensor, (y, graph.get_attr("shift"))))
    return fx.GraphModule(module, graph)


def test_a_region_with_a_graph_of_its_own_is_named() -> None:
    module = Small().eval()
    graph = fx.Graph()
    region = graph.get_attr("inner")
    graph.output(graph.call_function(torch.cond, (graph.placeholder("x"), region)))
    with pytest.raises(UserError, match=r"operator 'python\.cond' of module 'cond' holds a graph"):
        from_captured(fx.GraphModule(module, graph))


def test_what_cannot_run_is_an_error_of_ours_only_where_a_file_said_so(images: Tensor) -> None:
    graph = fx.Graph()
    halves = graph.call_function(torch.ops.aten.chunk.default, (graph.placeholder("x"), 2))
    graph.output(graph.call_function(operator.getitem, (halves, 7)))
    with pytest.raises(IndexError):
        GraphNetwork(graph, {})(images)
    with pytest.raises(UserError, match=r"reference\.json: node 'getitem' cannot run python\.getitem: "):
        GraphNetwork(graph, {}, source="reference.json")(images)
