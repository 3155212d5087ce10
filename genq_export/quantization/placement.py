"""Where quantizers go: decided on the graph by the target's rule, before any tensor is measured.

* Every input of a convolution, linear layer or activation product gets a quantizer at its root: the operator that
  computed it, with pooling, reshapes and other operators that only move numbers in between.
* Both inputs of a residual addition get one of 8 bits, where the sum goes on into an integer layer: additions run in
  8-bit containers at any grid, so nothing is gained by fewer. Layers that read such a tensor in fewer bits get a
  second, narrower quantizer behind the first. Additions that only feed LayerNorms (transformers) stay float, as
  LayerNorm does. Where the target adds to convolutions before it rounds, their results get none.
* Average pooling reads an 8-bit grid, and so does whoever takes an output of the network.
* A concatenation whose result is quantized and all that it joins share one scale, so that it only moves codes. One that
  feeds float arithmetic (the BatchNorm behind it in a DenseNet) joins numbers, and its inputs keep scales of their own.
* Where the target runs a convolution in integers only if it also writes codes, a result that nothing else quantizes
  (patch embedding, a convolution before SiLU) gets an 8-bit grid.
* Whatever computes and is not quantized is listed with the reason.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from torch import fx

from genq_export.config.target import TargetRule
from genq_export.network.aten import AVERAGE_POOLS, NON_NEGATIVE_OPS, is_constant, moves_numbers, op_name, root_of
from genq_export.quantization.bit_allocation import LayerBits
from genq_export.quantization.float_operators import float_operators, float_row
from genq_export.quantization.layers import has_constant, layers_of, products_of

# Additions and poolings run in 8-bit containers whatever the grid: fewer bits would only cost accuracy.
CONTAINER_BITS = 8


@dataclass
class Placement:
    """The decisions: `bits_of` by root node, quantized `layers` and `products`, and what stays float and why.

    shared: sets of roots that take one scale, the concatenation that gives it first. requantized: the bits that
    layers and products read a root in, where an addition reads it in the more of `bits_of`.
    """

    bits_of: dict[fx.Node, int] = field(default_factory=dict)
    layers: list[fx.Node] = field(default_factory=list)
    products: list[fx.Node] = field(default_factory=list)
    unquantized: list[dict[str, str]] = field(default_factory=list)
    shared: list[list[fx.Node]] = field(default_factory=list)
    requantized: dict[fx.Node, int] = field(default_factory=dict)


def place(
    graph: fx.Graph, bits: Mapping[fx.Node, LayerBits], rule: TargetRule, output_codes: bool = False
) -> Placement:
    """Decide for every node of a captured graph.

    Args:
        bits: For every node of `layers_of` and `products_of`. A tensor read by several of them takes the narrowest of
            what they ask. What is kept in float asks for nothing.
        rule: Of the target.
        output_codes: What the network gives is quantized, too.
    """
    placement = Placement()
    _ask_for_layers(placement, graph, bits)
    added = _ask_for_additions(placement, graph, rule)
    _ask_for_averages(placement, graph)
    if output_codes:
        _ask_for_outputs(placement, graph)
    if rule.convolutions_write_codes:
        _ask_for_results(placement)
    _share_scales(placement, graph)
    _widen(placement, [*added, *_outputs(placement, graph)])
    placement.unquantized += list(float_operators(graph))
    return placement


def _ask_for_layers(placement: Placement, graph: fx.Graph, bits: Mapping[fx.Node, LayerBits]) -> None:
    """Every input of a layer or a product, but of those that are kept in float."""
    placement.layers = [node for node in layers_of(graph) if bits[node].excluded_by is None]
    placement.products = [node for node in products_of(graph) if bits[node].excluded_by is None]
    for node in placement.layers:
        _ask(placement, node.args[0], bits[node].activation_bits)
    for node in placement.products:
        for source in node.args:
            _ask(placement, source, bits[node].activation_bits)
    for node, wanted in bits.items():
        if wanted.excluded_by is not None:
            placement.unquantized.append(float_row(node, f"kept in float as asked ('{wanted.excluded_by}')"))


def _ask_for_additions(placement: Placement, graph: fx.Graph, rule: TargetRule) -> list[fx.Node]:
    """Terms of residual additions whose sum goes on into integers; returns their roots.

    Both of them, but for convolutions that the target adds before it rounds them.
    """
    added: list[fx.Node] = []
    for node in _reversed_additions(graph):
        if _feeds_integers(node, placement):
            terms = [source for source in node.args[:2] if not (rule.sums_in_float and _is_added(source, placement))]
            added += [_ask(placement, source, CONTAINER_BITS) for source in terms]
        else:
            placement.unquantized.append(float_row(node, "the sum feeds only operators that stay float"))
    return added


def _is_added(source: object, placement: Placement) -> bool:
    """Is this a quantized convolution whose result nothing but the addition reads?"""
    if not isinstance(source, fx.Node) or op_name(source) != "conv2d" or source not in placement.layers:
        return False
    return len(source.users) == 1 and source not in placement.bits_of


def _ask_for_averages(placement: Placement, graph: fx.Graph) -> None:
    """What is averaged, where nobody else asked for it."""
    for node in graph.nodes:
        if op_name(node) in AVERAGE_POOLS and root_of(node.args[0]) not in placement.bits_of:
            _ask(placement, node.args[0], CONTAINER_BITS)


def _ask_for_outputs(placement: Placement, graph: fx.Graph) -> None:
    """What the network gives, in 8 bits, as it comes out: behind what moves its numbers."""
    (output,) = graph.find_nodes(op="output")
    for node in output.all_input_nodes:
        _ask(placement, node, CONTAINER_BITS)


def _outputs(placement: Placement, graph: fx.Graph) -> list[fx.Node]:
    """Roots of outputs that somebody else asked for: what leaves the network is no coarser for it."""
    (output,) = graph.find_nodes(op="output")
    roots = dict.fromkeys(root_of(node) for node in output.all_input_nodes)
    return [root for root in roots if root in placement.bits_of]


def _ask_for_results(placement: Placement) -> None:
    """What convolutions give, where nobody else asked for it."""
    for node in placement.layers:
        result = _after_relu(node)
        if op_name(node) == "conv2d" and result not in placement.bits_of:
            _ask(placement, result, CONTAINER_BITS)


def _share_scales(placement: Placement, graph: fx.Graph) -> None:
    """Give what a quantized concatenation joins the concatenation's grid; those with a tensor in common are one set."""
    for node in reversed(graph.nodes):
        if op_name(node) != "cat" or node not in placement.bits_of:
            continue
        joined = [root_of(source) for source in node.args[0] if not is_constant(source)]
        for root in joined:
            _ask(placement, root, placement.bits_of[node])
        met = [nodes for nodes in placement.shared if not {node, *joined}.isdisjoint(nodes)]
        together = dict.fromkeys([part for nodes in met for part in nodes] + [node, *joined])
        placement.shared = [nodes for nodes in placement.shared if nodes not in met] + [list(together)]
    for nodes in placement.shared:
        bits = min(placement.bits_of[node] for node in nodes)
        placement.bits_of |= dict.fromkeys(nodes, bits)


def _widen(placement: Placement, added: list[fx.Node]) -> None:
    """Let additions read 8 bits, and who asked for fewer a second grid. What concatenations join has one grid."""
    joined = {root for roots in placement.shared for root in roots}
    for root in added:
        if root not in joined and placement.bits_of[root] < CONTAINER_BITS:
            placement.requantized[root] = placement.bits_of[root]
            placement.bits_of[root] = CONTAINER_BITS


def narrow_readers(node: fx.Node, asking: Collection[fx.Node]) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Where the narrower grid that `asking` (layers and products) want of `node` belongs, and who reads it there.

    That is at `node` itself or, where others too read what comes of moving its numbers, behind the operator that does.
    """
    here = []
    for reader in node.users:
        if _read_by(reader, asking):
            here.append(reader)
        elif moves_numbers(reader):
            yield from narrow_readers(reader, asking)
    if here:
        yield node, here


def _read_by(reader: fx.Node, asking: Collection[fx.Node]) -> bool:
    """Is this one of `asking`, or does it move numbers to them alone?"""
    if moves_numbers(reader):
        return bool(reader.users) and all(_read_by(user, asking) for user in reader.users)
    return reader in asking


def _after_relu(node: fx.Node) -> fx.Node:
    """The ReLU that a runtime fuses into a convolution, or the convolution itself."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and op_name(readers[0]) in ("relu", "relu6", "hardtanh") else node


def _ask(placement: Placement, node: object, bits: int) -> fx.Node:
    """Note that somebody reads `node` in so many bits; returns its root."""
    assert isinstance(node, fx.Node)
    root = root_of(node)
    placement.bits_of[root] = min(bits, placement.bits_of.get(root, bits))
    return root


def _reversed_additions(graph: fx.Graph) -> Iterator[fx.Node]:
    """Residual additions, last first, so that a chain of them is decided from its end."""
    for node in reversed(graph.nodes):
        if op_name(node) == "add" and not has_constant(node):
            yield node


def _feeds_integers(node: fx.Node, placement: Placement) -> bool:
    """Does the value, perhaps after an activation function, reach a tensor that is quantized anyway or a pooling?"""
    if node in placement.bits_of:
        return True
    passes = (*NON_NEGATIVE_OPS, "hardtanh", "clamp")
    return any(
        op_name(user) in AVERAGE_POOLS
        or (
            (moves_numbers(user) or op_name(user) in passes)
            and (user in placement.bits_of or _feeds_integers(user, placement))
        )
        for user in node.users
    )
