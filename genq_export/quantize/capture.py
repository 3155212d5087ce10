"""From a network to a graph of ATen operators with BatchNorm folded: what placement works on.

`torch.export` gives residual additions, concatenations and attention products as nodes, and every node's
`nn_module_stack` says which module of the network it came from. So nothing here knows any architecture.
"""

import os
import traceback
from typing import Any

import torch
from torch import Tensor, fx, nn

from genq_export.core.errors import UserError
from genq_export.network.aten import attribute, is_constant, module_path, new_constant, op_name

_FUNCTIONAL = {
    "relu_": torch.ops.aten.relu.default,
    "relu6_": torch.ops.aten.relu6.default,
    "hardtanh_": torch.ops.aten.hardtanh.default,
    "hardswish_": torch.ops.aten.hardswish.default,
    "hardsigmoid_": torch.ops.aten.hardsigmoid.default,
    "silu_": torch.ops.aten.silu.default,
    "sigmoid_": torch.ops.aten.sigmoid.default,
    "add_": torch.ops.aten.add.Tensor,
    "mul_": torch.ops.aten.mul.Tensor,
    "view": torch.ops.aten.reshape.default,
}
_NOTHING_IN_EVAL = ("dropout", "dropout_", "contiguous", "clone", "feature_dropout")


def capture(module: nn.Module, input_size: tuple[int, int, int]) -> fx.GraphModule:
    """Trace a float32 network in eval mode, with a free batch size, and simplify its graph.

    The result computes what the network computes; it has no BatchNorm behind a convolution, no in-place operator and
    no dropout. Raises UserError that names the module and the line which cannot be traced.
    """
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(f"the network's '{name}' holds NaN or infinity: its checkpoint is damaged")
    for part in module.modules():
        if hasattr(part, "fused_attn"):  # timm's switch; the fused operator hides the two products
            setattr(part, "fused_attn", False)  # noqa: B010 - a Module's attributes are typed as tensors
    example = torch.zeros(2, *input_size)
    batch = torch.export.Dim("batch", min=1, max=65536)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:
        raise UserError(f"the network does not trace: {_where(error, module)}") from error
    graph_module = _one_in_one_out(program.module(check_guards=False))
    _make_functional(graph_module)
    _remove_what_eval_skips(graph_module)
    _free_batch_in_shapes(graph_module)
    _compute_weights(graph_module)
    _write_out_padding(graph_module)
    fold_batch_norm(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    _check_same(module, graph_module, input_size)
    return graph_module


def _one_in_one_out(gm: Any) -> fx.GraphModule:
    """The same graph with a plain signature, without the exporter's packing of inputs and outputs."""
    graph = fx.Graph()
    result = graph.graph_copy(gm.graph, {})
    while isinstance(result, list | tuple):
        if len(result) != 1:
            raise UserError(f"the network returns {len(result)} values; it must return logits alone")
        result = result[0]
    graph.output(result)
    return fx.GraphModule(gm, graph)


def _check_same(module: nn.Module, gm: fx.GraphModule, input_size: tuple[int, int, int]) -> None:
    """Hold the simplified graph against the network on noise: a rewrite that does not apply must not go unnoticed."""
    noise = torch.randn(3, *input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = module(noise), gm(noise)
    if not torch.allclose(found, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max())):
        raise UserError("the traced network does not compute what the network computes (in-place operators?)")


def fold_batch_norm(gm: fx.GraphModule) -> None:
    """Fold every BatchNorm into the convolution before it.

    w' = w * g / sqrt(v + e), b' = (b - m) * g / sqrt(v + e) + o, with gain g and offset o (1 and 0 where it has none).
    One that follows anything else becomes a multiplication and an addition per channel, still float.
    """
    for node in list(gm.graph.nodes):
        if op_name(node) != "batch_norm":
            continue
        source, *parameters = node.args[:5]
        mean, variance = (attribute(gm, part.target) for part in parameters[2:])
        gain = torch.ones_like(mean) if parameters[0] is None else attribute(gm, parameters[0].target)
        offset = torch.zeros_like(mean) if parameters[1] is None else attribute(gm, parameters[1].target)
        factor = gain / torch.sqrt(variance + node.args[7])
        shift = offset - mean * factor
        if op_name(source) == "conv2d" and len(source.users) == 1:
            _scale_convolution(gm, source, factor, shift)
            node.replace_all_uses_with(source)
        else:
            _replace_by_affine(gm, node, factor, shift)
        gm.graph.erase_node(node)


def _scale_convolution(gm: fx.GraphModule, conv: fx.Node, factor: Tensor, shift: Tensor) -> None:
    weight_node = conv.args[1]
    bias_node = conv.args[2] if len(conv.args) > 2 else None
    weight = attribute(gm, weight_node.target)  # type: ignore[union-attr, arg-type]
    bias = attribute(gm, bias_node.target) if isinstance(bias_node, fx.Node) else torch.zeros_like(shift)  # type: ignore[arg-type]
    path = module_path(conv).replace(".", "_")
    arguments = list(conv.args) + [None] * (3 - len(conv.args))
    with gm.graph.inserting_before(conv):
        arguments[1] = new_constant(gm, f"{path}_folded_weight", weight * factor.view(-1, 1, 1, 1))
        arguments[2] = new_constant(gm, f"{path}_folded_bias", bias * factor + shift)
    conv.args = tuple(arguments)


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


def _make_functional(gm: fx.GraphModule) -> None:
    for node in gm.graph.nodes:
        replacement = _FUNCTIONAL.get(op_name(node))
        if replacement is not None:
            node.target = replacement


def _remove_what_eval_skips(gm: fx.GraphModule) -> None:
    for node in list(gm.graph.nodes):
        if op_name(node) in _NOTHING_IN_EVAL:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)


def _free_batch_in_shapes(gm: fx.GraphModule) -> None:
    """Write the one free dimension of a reshape as -1, so that no batch-size value crosses the whole graph."""
    for node in gm.graph.nodes:
        if op_name(node) != "reshape":
            continue
        shape = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
        if shape.count(-1) <= 1:
            node.args = (node.args[0], shape)


def _compute_weights(gm: fx.GraphModule) -> None:
    """Weights that a layer makes from its parameters at every call (weight standardisation) become constants."""
    for node in list(gm.graph.nodes):
        if op_name(node) not in ("conv2d", "linear"):
            continue
        for position, source in enumerate(node.args[1:3], start=1):
            if isinstance(source, fx.Node) and source.op != "get_attr" and is_constant(source):
                with torch.no_grad(), gm.graph.inserting_before(node):
                    name = f"{module_path(node).replace('.', '_')}_computed"
                    node.update_arg(position, new_constant(gm, name, _value(gm, source)))
    gm.graph.eliminate_dead_code()


def _value(gm: fx.GraphModule, node: fx.Node) -> Tensor:
    """What a node computes from parameters alone."""
    if node.op == "get_attr":
        return attribute(gm, str(node.target))
    assert callable(node.target)
    args = fx.node.map_arg(node.args, lambda source: _value(gm, source))
    kwargs = fx.node.map_arg(node.kwargs, lambda source: _value(gm, source))
    result: Tensor = node.target(*args, **kwargs)
    return result


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


def _where(error: Exception, network: nn.Module) -> str:
    """What was said, and where: the innermost module of the network that was being called, and its line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0].rstrip(".") if lines else type(error).__name__
    paths = {id(part): path for path, part in network.named_modules()}
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = next((frame.f_locals.get(name) for name in frame.f_code.co_varnames[:1]), None)  # `self`
        own_code = not frame.f_code.co_filename.startswith(os.path.dirname(torch.__file__))
        if id(module) in paths and own_code:
            name = paths[id(module)] or "the network itself"
            place = f" (module {name}, {type(module).__name__}, {frame.f_code.co_filename}:{line})"
    return said + place
