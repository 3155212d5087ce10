"""A captured graph made simple: no BatchNorm, no in-place operator, nothing that an evaluated network does not need.

Every rewrite keeps what the graph computes; `capture` holds the result against the network.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from genq_export.core.errors import UserError
from genq_export.network.aten import LAYERS, attribute, is_constant, is_repeatable, module_path, new_constant, op_name
from genq_export.quantization.assignments import write_out_assignments
from genq_export.quantization.batch_constants import fold_batch_constants
from genq_export.quantization.decompose import decompose

_NOTHING_IN_EVAL = ("dropout", "dropout_", "contiguous", "clone", "feature_dropout", "detach", "detach_")
_CASTS = ("to", "_to_copy")
_LAYERS_CROSSED = 8  # by the number of images before it is asked for anew
_NEUTRAL = {"mul": 1, "div": 1, "add": 0, "sub": 0}
_FILLED_WITH = {"zeros": 0, "ones": 1}


def simplify(gm: fx.GraphModule) -> None:
    """Rewrite the graph of a network in eval mode in place."""
    _inline_regions(gm)
    _write_out_fills(gm)
    decompose(gm)
    _compute_constants(gm)
    write_out_assignments(gm)
    _compute_constants(gm)
    fold_batch_constants(gm)
    _reshapes_by_one_name(gm)
    _remove_what_eval_skips(gm)
    _free_batch_in_shapes(gm)
    _take_batch_from_neighbours(gm)
    _write_out_padding(gm)
    fold_batch_norm(gm)
    _remove_neutral(gm)
    _compute_once(gm)
    gm.graph.eliminate_dead_code()
    gm.delete_all_unused_submodules()
    gm.recompile()


def fold_batch_norm(gm: fx.GraphModule) -> None:
    """Fold every BatchNorm into the convolution or linear layer before it.

    w' = w * g / sqrt(v + e), b' = (b - m) * g / sqrt(v + e) + o, with gain g and offset o (1 and 0 where it has none).
    One that follows anything else becomes a multiplication and an addition per channel, still float.
    """
    for node in list(gm.graph.nodes):
        if op_name(node) != "batch_norm":
            continue
        source, *parameters = node.args[:5]
        if parameters[2] is None or parameters[3] is None:
            raise UserError(
                f"BatchNorm '{module_path(node) or node.name}' keeps no statistics (track_running_stats=False): what it"
                " gives for an image depends on the others of its batch, so the network cannot be quantized; use"
                " GroupNorm or InstanceNorm, or let it track statistics"
            )
        mean, variance = (attribute(gm, part.target) for part in parameters[2:])
        gain = torch.ones_like(mean) if parameters[0] is None else attribute(gm, parameters[0].target)
        offset = torch.zeros_like(mean) if parameters[1] is None else attribute(gm, parameters[1].target)
        factor = gain / torch.sqrt(variance + node.args[7])
        shift = offset - mean * factor
        layer = _layer_in_front(node)
        if layer is not None:
            _scale_layer(gm, layer, factor, shift)
            node.replace_all_uses_with(source)
        else:
            _replace_by_affine(gm, node, factor, shift)
        gm.graph.erase_node(node)


def _layer_in_front(norm: fx.Node) -> fx.Node | None:
    """The layer whose output channels a BatchNorm normalises, perhaps behind a reshape that leaves them apart."""
    source = norm.args[0]
    while isinstance(source, fx.Node) and len(source.users) == 1:
        if op_name(source) == "conv2d":
            weight = source.args[1]
            return source if isinstance(weight, fx.Node) and weight.op == "get_attr" else None
        if op_name(source) == "linear":
            weight = source.args[1]
            last = norm.meta["val"].dim() == 2
            return source if last and isinstance(weight, fx.Node) and weight.op == "get_attr" else None
        if not _keeps_channels(source, norm):
            return None
        source = source.args[0]
    return None


def _keeps_channels(node: fx.Node, norm: fx.Node) -> bool:
    """An image of height 1 squeezed, or rows of a table joined: the channels are those of what is reshaped."""
    source: Any = node.args[0]
    if op_name(node) == "squeeze":
        return bool(node.args[1:] == (2,)) and op_name(source) == "conv2d"
    if op_name(node) not in ("reshape", "flatten", "view") or norm.meta["val"].dim() != 2:
        return False
    return bool(source.meta["val"].shape[-1] == node.meta["val"].shape[-1])


def _scale_layer(gm: fx.GraphModule, layer: fx.Node, factor: Tensor, shift: Tensor) -> None:
    weight_node = layer.args[1]
    bias_node = layer.args[2] if len(layer.args) > 2 else None
    weight = attribute(gm, weight_node.target)  # type: ignore[union-attr, arg-type]
    bias = attribute(gm, bias_node.target) if isinstance(bias_node, fx.Node) else torch.zeros_like(shift)  # type: ignore[arg-type]
    path = module_path(layer).replace(".", "_")
    arguments = list(layer.args) + [None] * (3 - len(layer.args))
    with gm.graph.inserting_before(layer):
        arguments[1] = new_constant(gm, f"{path}_folded_weight", weight * factor.view(-1, *[1] * (weight.dim() - 1)))
        arguments[2] = new_constant(gm, f"{path}_folded_bias", bias * factor + shift)
    layer.args = tuple(arguments)


def _replace_by_affine(gm: fx.GraphModule, node: fx.Node, factor: Tensor, shift: Tensor) -> None:
    rank = node.meta["val"].dim()
    shape = (1, -1, *([1] * (rank - 2)))
    path = module_path(node).replace(".", "_")
    with gm.graph.inserting_before(node):
        gain = new_constant(gm, f"{path}_gain", factor.view(shape))
        offset = new_constant(gm, f"{path}_offset", shift.view(shape))
        product = gm.graph.call_function(torch.ops.aten.mul.Tensor, (node.args[0], gain))
        result = gm.graph.call_function(torch.ops.aten.add.Tensor, (product, offset))
    product.meta = dict(node.meta)
    result.meta = dict(node.meta)
    node.replace_all_uses_with(result)


def _inline_regions(gm: fx.GraphModule) -> None:
    """Write out regions under `torch.no_grad` and `torch.autocast(enabled=False)`, which change nothing here."""
    for node in list(gm.graph.nodes):
        kind = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
        if kind == "wrap_with_set_grad_enabled":
            region, inputs = node.args[1], node.args[2:]
        elif kind == "wrap_with_autocast" and not node.args[2]:
            region, inputs = node.args[4], node.args[5:]
        else:
            continue
        body = gm.get_submodule(region.target).graph
        assert isinstance(body, fx.Graph)
        copies = dict(zip(body.find_nodes(op="placeholder"), inputs, strict=True))
        with gm.graph.inserting_before(node):
            results = gm.graph.graph_copy(body, copies)
        _replace_tuple(node, results if isinstance(results, tuple | list) else (results,))


def _replace_tuple(node: fx.Node, results: Any) -> None:
    """Let the readers of the parts of a tuple read `results`."""
    for reader in list(node.users):
        reader.replace_all_uses_with(results[reader.args[1]])
        reader.graph.erase_node(reader)
    node.graph.erase_node(node)


def _reshapes_by_one_name(gm: fx.GraphModule) -> None:
    for node in gm.graph.nodes:
        if op_name(node) in ("view", "_unsafe_view"):
            node.target = torch.ops.aten.reshape.default


def _remove_what_eval_skips(gm: fx.GraphModule) -> None:
    """Drop dropout, copies, checks of types, and casts to the type that a tensor has."""
    for node in list(gm.graph.nodes):
        name = op_name(node)
        if name == "_assert_tensor_metadata":
            gm.graph.erase_node(node)
        elif name in _NOTHING_IN_EVAL or (name in _CASTS and _dtype(node) == _dtype(node.args[0])):
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
        elif name in _CASTS:
            node.target, node.args, node.kwargs = torch.ops.aten.to.dtype, (node.args[0], _dtype(node)), {}


def _remove_neutral(gm: fx.GraphModule) -> None:
    """Drop multiplications by 1 and additions of 0.

    A runtime does so as well, and is left with two quantizers in a row: that hides the layer in front of them.
    """
    for node in list(gm.graph.nodes):
        neutral = _NEUTRAL.get(op_name(node))
        if neutral is None or node.kwargs or not isinstance(node.args[0], fx.Node):
            continue
        source, other = node.args[:2]
        if op_name(node) in ("mul", "add") and is_constant(source):
            source, other = other, source
        if isinstance(source, fx.Node) and _is_all(gm, other, neutral) and _alike(source, node):
            node.replace_all_uses_with(source)
            gm.graph.erase_node(node)


def _is_all(gm: fx.GraphModule, value: object, number: float) -> bool:
    if isinstance(value, fx.Node):
        return value.op == "get_attr" and bool((attribute(gm, str(value.target)) == number).all())
    return isinstance(value, int | float) and value == number


def _alike(a: fx.Node, b: fx.Node) -> bool:
    """Have two nodes one shape and one type?"""
    first, second = a.meta.get("val"), b.meta.get("val")
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    return bool(first.shape == second.shape) and first.dtype == second.dtype


def _compute_once(gm: fx.GraphModule) -> None:
    """Let operators of the same on the same be one: an exporter makes them one, and their quantizers with them."""
    seen: dict[Any, fx.Node] = {}
    for node in list(gm.graph.nodes):
        if node.op != "call_function" or not is_repeatable(node):
            continue
        key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            gm.graph.erase_node(node)


def _hashable(value: Any) -> Any:
    """What is equal only where arguments are: 1, 1.0 and True are not the same; a constant is told by its name."""
    if isinstance(value, dict):
        return tuple((key, _hashable(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    if isinstance(value, fx.Node):
        return ("constant", value.target) if value.op == "get_attr" else value
    return type(value), value


def _dtype(node: fx.Node) -> torch.dtype:
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype


def _free_batch_in_shapes(gm: fx.GraphModule) -> None:
    """Write the one free dimension of a reshape as -1, so that no batch-size value crosses the whole graph."""
    for node in gm.graph.nodes:
        if op_name(node) != "reshape":
            continue
        shape = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
        if shape.count(-1) <= 1:
            node.args = (node.args[0], shape)


def _take_batch_from_neighbours(gm: fx.GraphModule) -> None:
    """Ask the tensor computed last for the number of images, where that of the input would cross many layers.

    A class token joined late, or a learned query, is repeated for every image. A number that is alive from the input on
    would make one block of all that lies between.
    """
    (images,) = gm.graph.find_nodes(op="placeholder")
    asked = [node for node in images.users if op_name(node) == "sym_size" and node.args[1] == 0]
    layers, last = 0, images
    for node in list(gm.graph.nodes):
        for size in [part for part in asked if part in node.all_input_nodes]:
            if layers >= _LAYERS_CROSSED and isinstance(node.meta.get("val"), Tensor):
                with gm.graph.inserting_before(node):
                    nearer = gm.graph.call_function(torch.ops.aten.sym_size.int, (last, 0))
                nearer.meta = dict(size.meta)
                node.replace_input_with(size, nearer)
        layers += op_name(node) in LAYERS
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.dim() and str(value.shape[0]) == str(images.meta["val"].shape[0]):
            last = node


def _compute_constants(gm: fx.GraphModule) -> None:
    """What is computed at every call from parameters alone becomes a constant: weights, position tables, masks."""
    constant = _constant_nodes(gm.graph)
    writes = any(op_name(node).endswith("_") for node in constant)
    values: dict[fx.Node, Any] = {}
    for node in constant:
        if node.op == "call_function":
            args, kwargs = (fx.node.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
            with torch.no_grad():
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator, arg-type]
        elif any(reader in constant for reader in node.users):
            found = operator.attrgetter(str(node.target))(gm)
            values[node] = found.clone() if writes and isinstance(found, Tensor) else found
    for node, value in values.items():
        read_on = any(reader not in constant for reader in node.users)
        if node.op == "call_function" and isinstance(value, Tensor) and read_on:
            with gm.graph.inserting_before(node):
                computed = new_constant(gm, f"{module_path(node).replace('.', '_')}_computed", value)
            computed.meta = dict(node.meta)
            node.replace_all_uses_with(computed)
    for node in reversed(constant):  # what an operator wrote into a constant is in the constants by now
        if not node.users:
            gm.graph.erase_node(node)


def _constant_nodes(graph: fx.Graph) -> dict[fx.Node, None]:
    """Nodes that do not depend on the input, in order."""
    found: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op == "get_attr" or (is_repeatable(node) and all(source in found for source in node.all_input_nodes)):
            found[node] = None
    return found


def _write_out_fills(gm: fx.GraphModule) -> None:
    """`zeros` and its like name no device and no tensor; where the batch decides the size, one number is expanded."""
    for node in list(gm.graph.nodes):
        kind = op_name(node).removeprefix("new_").removesuffix("_like")
        if kind not in (*_FILLED_WITH, "full"):
            continue
        number = _FILLED_WITH[kind] if kind in _FILLED_WITH else node.args[-1]
        with gm.graph.inserting_before(node):
            filled = _filled(node, number)
        filled.meta = dict(node.meta)
        node.replace_all_uses_with(filled)
        gm.graph.erase_node(node)


def _filled(node: fx.Node, number: Any) -> fx.Node:
    """A node for a tensor of one number, of the shape and type that `node` has."""

    def full(sizes: list[Any]) -> fx.Node:
        return node.graph.call_function(torch.ops.aten.full.default, (sizes, number), {"dtype": _dtype(node)})

    sizes = list(node.meta["val"].shape)
    if all(isinstance(size, int) for size in sizes):
        return full(sizes)
    one, name = full([1] * len(sizes)), op_name(node)
    if name.endswith("_like"):
        return node.graph.call_function(torch.ops.aten.expand_as.default, (one, node.args[0]))
    return node.graph.call_function(torch.ops.aten.expand.default, (one, node.args[name.startswith("new_")]))


def _write_out_padding(gm: fx.GraphModule) -> None:
    """padding="same" and "valid" in numbers; where the two sides differ, as a pad operator in front."""
    for node in gm.graph.nodes:
        if node.target != torch.ops.aten.conv2d.padding:
            continue
        defaults = (None, [1], "valid", [1], 1)
        arguments = [*node.args, *defaults[len(node.args) - 2 :]]
        source, weight, bias, stride, padding, dilation, groups = arguments
        total = [0, 0]
        if padding == "same":
            size = attribute(gm, weight.target).shape[2:]
            step = [*dilation] * (2 // len(dilation))
            total = [d * (k - 1) for d, k in zip(step, size, strict=True)]
        if total[0] % 2 or total[1] % 2:
            sides = [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]
            with gm.graph.inserting_before(node):
                padded = gm.graph.call_function(torch.ops.aten.pad.default, (source, sides))
            padded.meta = {key: value for key, value in source.meta.items() if key != "val"} | node.meta
            source, total = padded, [0, 0]
        node.target = torch.ops.aten.conv2d.default
        node.args = (source, weight, bias, stride, [part // 2 for part in total], dilation, groups)
