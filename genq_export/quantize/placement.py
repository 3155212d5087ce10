"""Where quantizers go: decided on the graph by the target's rule, before any tensor is measured.

* Every input of a convolution, linear layer or activation product gets a quantizer at its root: the operator that
  computed it, with pooling, reshapes and other operators that only move numbers in between.
* Both inputs of a residual addition get one of 8 bits, where the sum goes on into an integer layer: additions run in
  8-bit containers at any grid, so nothing is gained by fewer. Layers that read such a tensor in fewer bits get a
  second, narrower quantizer behind the first. Additions that only feed LayerNorms (transformers) stay float, as
  LayerNorm does.
* Average pooling reads an 8-bit grid.
* A concatenation whose result is quantized and all that it joins share one scale, so that it only moves codes. One that
  feeds float arithmetic (the BatchNorm behind it in a DenseNet) joins numbers, and its inputs keep scales of their own.
* Where the target runs a convolution in integers only if it also writes codes, a result that nothing else quantizes
  (patch embedding, a convolution before SiLU) gets an 8-bit grid.
* Whatever computes and is not quantized is listed with the reason.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from torch import fx

from genq_export.config.target import TargetRule
from genq_export.network.aten import (
    AVERAGE_POOLS,
    DATA_MOVEMENT_OPS,
    LAYERS,
    NON_NEGATIVE_OPS,
    SHORT_NEGATIVE_TAIL_OPS,
    is_constant,
    module_path,
    op_name,
    readers_of,
    root_of,
)
from genq_export.quantize.bit_allocation import LayerBits

# Additions and poolings run in 8-bit containers whatever the grid: fewer bits would only cost accuracy.
CONTAINER_BITS = 8
_NO_INTEGER_FORM = (
    "conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "bilinear", "bmm",
    "baddbmm", "addmm", "mm", "einsum", "group_norm", "instance_norm", "batch_norm", "rms_norm", "grid_sampler",
    "upsample_bilinear2d", "upsample_bicubic2d", "tanh", "softplus", "elu", "leaky_relu", "prelu", "mish", "div",
    "local_response_norm", "cdist", "lstm", "gru",
)  # fmt: skip


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


def place(graph: fx.Graph, bits: Mapping[fx.Node, LayerBits], rule: TargetRule) -> Placement:
    """Decide for every node of a captured graph.

    bits: for every node of `layers_of` and `products_of`. A tensor read by several of them takes the narrowest of what
    they ask. What is kept in float asks for nothing.
    """
    placement = Placement()
    placement.layers = [node for node in layers_of(graph) if bits[node].excluded_by is None]
    placement.products = [node for node in products_of(graph) if bits[node].excluded_by is None]
    for node in placement.layers:
        _ask(placement, node.args[0], bits[node].activation_bits)
    for node in placement.products:
        for source in node.args:
            _ask(placement, source, bits[node].activation_bits)
    for node, wanted in bits.items():
        if wanted.excluded_by is not None:
            _leave(placement, node, f"kept in float as asked ('{wanted.excluded_by}')")
    added: list[fx.Node] = []
    for node in _reversed_additions(graph):
        if _feeds_integers(node, placement):
            for source in node.args[:2]:
                added.append(_ask(placement, source, CONTAINER_BITS))
        else:
            _leave(placement, node, "the sum feeds only operators that stay float")
    for node in graph.nodes:
        if op_name(node) in AVERAGE_POOLS and root_of(node.args[0]) not in placement.bits_of:
            _ask(placement, node.args[0], CONTAINER_BITS)
    if rule.convolutions_write_codes:
        for node in placement.layers:
            result = _after_relu(node)
            if op_name(node) == "conv2d" and result not in placement.bits_of:
                _ask(placement, result, CONTAINER_BITS)
    _share_scales(placement, graph)
    _widen(placement, added)
    placement.unquantized += list(_other_float_operators(graph))
    return placement


def _share_scales(placement: Placement, graph: fx.Graph) -> None:
    """Give what a quantized concatenation joins the concatenation's grid; chains of them become one set."""
    for node in reversed(graph.nodes):
        if op_name(node) != "cat" or node not in placement.bits_of:
            continue
        joined = [root_of(source) for source in node.args[0] if not is_constant(source)]
        for root in joined:
            _ask(placement, root, placement.bits_of[node])
        known = next((nodes for nodes in placement.shared if node in nodes), None)
        if known is None:
            placement.shared.append([node, *joined])
        else:
            known += joined
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


def layers_of(graph: fx.Graph) -> list[fx.Node]:
    """Convolutions and linear layers with fixed weights, in order."""
    return [node for node in graph.nodes if _is_layer(node)]


def products_of(graph: fx.Graph) -> list[fx.Node]:
    """Products of two activations, in order."""
    return [node for node in graph.nodes if op_name(node) == "matmul" and not _has_constant(node)]


def _is_layer(node: fx.Node) -> bool:
    """A convolution or linear layer with a fixed weight."""
    weight = node.args[1] if op_name(node) in LAYERS else None
    return isinstance(weight, fx.Node) and weight.op == "get_attr"


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
    return all(_is_layer(reader) and not _pads(reader) for reader in readers_of(root))


def narrow_readers(node: fx.Node, asking: Collection[fx.Node]) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Where the narrower grid that `asking` (layers and products) want of `node` belongs, and who reads it there.

    That is at `node` itself or, where others too read what comes of moving its numbers, behind the operator that does.
    """
    here = []
    for reader in node.users:
        if _read_by(reader, asking):
            here.append(reader)
        elif op_name(reader) in DATA_MOVEMENT_OPS:
            yield from narrow_readers(reader, asking)
    if here:
        yield node, here


def _read_by(reader: fx.Node, asking: Collection[fx.Node]) -> bool:
    """Is this one of `asking`, or does it move numbers to them alone?"""
    if op_name(reader) in DATA_MOVEMENT_OPS:
        return bool(reader.users) and all(_read_by(user, asking) for user in reader.users)
    return reader in asking


def _pads(layer: fx.Node) -> bool:
    padding = layer.args[4] if op_name(layer) == "conv2d" and len(layer.args) > 4 else [0]
    return padding != [0] * len(padding)  # type: ignore[arg-type]


def _lower_end(clamp: fx.Node) -> float:
    """Where a hardtanh or clamp begins, as far as its arguments say."""
    lower = clamp.args[1] if len(clamp.args) > 1 else None
    return float(lower) if isinstance(lower, int | float) else -math.inf


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
        if op_name(node) == "add" and not _has_constant(node):
            yield node


def _has_constant(node: fx.Node) -> bool:
    return any(is_constant(source) for source in node.args[:2])


def _feeds_integers(node: fx.Node, placement: Placement) -> bool:
    """Does the value, perhaps after an activation function, reach a tensor that is quantized anyway or a pooling?"""
    if node in placement.bits_of:
        return True
    passes = (*DATA_MOVEMENT_OPS, *NON_NEGATIVE_OPS, "hardtanh", "clamp")
    return any(
        op_name(user) in AVERAGE_POOLS
        or (op_name(user) in passes and (user in placement.bits_of or _feeds_integers(user, placement)))
        for user in node.users
    )


def _leave(placement: Placement, node: fx.Node, reason: str) -> None:
    placement.unquantized.append({"name": module_path(node) or node.name, "op": op_name(node), "reason": reason})


def _other_float_operators(graph: fx.Graph) -> Iterator[dict[str, str]]:
    reasons = {
        "layer_norm": "LayerNorm stays float",
        "softmax": "softmax stays float; its output is quantized",
        "gelu": "GELU stays float; its output is quantized",
        "silu": "SiLU stays float; its output is quantized",
        "hardswish": "hard-swish stays float; its output is quantized",
        "mul": "elementwise product stays float",
        "scaled_dot_product_attention": "fused attention hides its products",
        "matmul": "product with a constant stays float",
        **dict.fromkeys(LAYERS, "its weight is computed from the input; stays float"),
        **dict.fromkeys(_NO_INTEGER_FORM, "this operator has no integer form here; stays float"),
    }
    for node in graph.nodes:
        name = op_name(node)
        quantized = (name == "matmul" and not _has_constant(node)) or _is_layer(node)
        if name in reasons and not quantized and not is_constant(node):
            yield {"name": module_path(node) or node.name, "op": name, "reason": reasons[name]}
