"""From a captured float graph to the fake-quant reference: quantizers and quantized layers put in by placement."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.config.target import TargetRule
from genq_export.core.errors import UserError
from genq_export.network import range_search
from genq_export.network.aten import attribute, called_module, module_path, op_name, root_of
from genq_export.network.fake_quant import INPUT_NAME, ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.float_weight import FloatWeight
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork, from_captured
from genq_export.network.names import clean_path, part_name, scale_name, tensor_name
from genq_export.network.serialization import check_storable
from genq_export.quantization.bit_allocation import LayerBits, bits_by_name
from genq_export.quantization.capture import capture
from genq_export.quantization.grid_sign import non_negative_nodes, sign_of
from genq_export.quantization.layers import last_layers, layers_of, products_of
from genq_export.quantization.placement import Placement, narrow_readers, place
from genq_export.quantization.reparameterize import reparameterized

Rewrite = Callable[[fx.GraphModule], object]


def prepare(
    module: nn.Module,
    input_size: tuple[int, int, int],
    config: QuantizeConfig,
    rule: TargetRule,
    rewrites: Sequence[Rewrite] = (),
) -> tuple[GraphNetwork, Placement]:
    """Capture a float network and put quantizers where `placement` says.

    Weight scales are searched and weights rounded; activation scales wait for `calibrate_ranges`.

    Args:
        rewrites: Change the captured float graph in place before anything is placed in it.

    Raises:
        UserError: where the network does not trace, holds nothing to quantize, or an operator that cannot be stored.
    """
    network, names, name_of, by_name, placement = _placed(captured(module, input_size, rewrites), module, config, rule)
    layers = layers_of(network.graph)
    quantizers = _insert_quantizers(network, placement, rule, names)
    for node in layers:
        name = name_of[node]
        if by_name[name].excluded_by is None:
            _replace_layer(network, node, name, by_name[name].weight_bits, rule, quantizers)
        else:
            _keep_float(network, node, name, rule)
    for node in placement.products:
        _replace_product(network, node, name_of[node], quantizers)
    network.remove_unused()
    network.graph.lint()
    check_storable(network)
    for part in network.modules():
        if isinstance(part, ActivationQuantizer):
            part.pow2 = config.scales == "pow2"
    return network, placement


def check_placeable(floats: fx.GraphModule, module: nn.Module, config: QuantizeConfig, rule: TargetRule) -> None:
    """Raise UserError where `prepare` would, for a network that was `captured`, without looking for a single scale."""
    network = _placed(floats, module, config, rule).network
    network.remove_unused()
    check_storable(network)


class _Placed(NamedTuple):
    """A float graph, the names of its layers and products with the bits of each, and where quantizers belong in it."""

    network: GraphNetwork
    names: "_Names"
    name_of: dict[fx.Node, str]
    bits: dict[str, LayerBits]
    placement: Placement


def _placed(floats: fx.GraphModule, module: nn.Module, config: QuantizeConfig, rule: TargetRule) -> _Placed:
    network = from_captured(floats)
    names = _Names(containers={name for name, part in module.named_modules() if next(part.children(), None)})
    name_of = _layer_names(network.graph, names)
    layers, products = layers_of(network.graph), products_of(network.graph)
    last = [name_of[node] for node in last_layers(network.graph)]
    bits = bits_by_name([name_of[node] for node in layers], [name_of[node] for node in products], config, last)
    placement = place(network.graph, {node: bits[name] for node, name in name_of.items()}, rule, config.output_codes)
    if not placement.layers:
        raise UserError("the network has no convolution or linear layer to quantize")
    return _Placed(network, names, name_of, bits, placement)


def captured(module: nn.Module, input_size: tuple[int, int, int], rewrites: Sequence[Rewrite] = ()) -> fx.GraphModule:
    """The float graph that quantizers are placed in. Raises UserError where the network does not trace."""
    found = capture(reparameterized(module, input_size), input_size)
    for rewrite in rewrites:
        rewrite(found)
    return found


def _insert_quantizers(
    network: GraphNetwork, placement: Placement, rule: TargetRule, names: "_Names"
) -> dict[fx.Node, fx.Node]:
    """Put a quantizer behind every root, narrower ones behind these, and let shared scales be shared; calls by root."""
    calls, non_negative = {}, non_negative_nodes(network.graph)
    for root, bits in placement.bits_of.items():
        joined = next((nodes for nodes in placement.shared if root in nodes), [root])
        calls[root] = _insert_quantizer(network, root, bits, sign_of(joined, bits, rule, non_negative), names)
    asking = {*placement.layers, *placement.products}
    for root, bits in placement.requantized.items():
        _insert_narrower(network, calls[root], asking, bits, sign_of([root], bits, rule, non_negative), names)
    for first, *others in placement.shared:
        for root in others:
            _quantizer(network, calls[root]).follow(_quantizer(network, calls[first]))
    return calls


def calibrate_ranges(network: GraphNetwork, batches: Iterable[Tensor], percentile: float | None = None) -> list[str]:
    """Search every activation scale on float activations of `batches`; memory is bounded by sampling each tensor.

    Args:
        batches: float32 [B, C, H, W] each, looked at one at a time.
        percentile: Do not search, but cover the numbers between the (100 - percentile)th and the percentile-th.

    Returns:
        Names of tensors that were constant zero (they get scale 1).

    Raises:
        UserError: where an activation is not finite.
    """
    samples: dict[str, list[Tensor]] = {}
    quantizers = [part for part in network.modules() if isinstance(part, ActivationQuantizer)]

    def keep(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(part, ActivationQuantizer)
        if not torch.isfinite(torch.stack(torch.aminmax(inputs[0]))).all():
            raise UserError(f"activation '{part.name}' of the float network is not finite on calibration images")
        samples.setdefault(part.name, []).append(range_search.sample_of(inputs[0], with_ends=percentile is None))

    handles = [part.register_forward_pre_hook(keep) for part in quantizers]
    set_quantization(network, False)
    try:
        with torch.no_grad():
            for batch in batches:
                network(batch)
    finally:
        set_quantization(network, True)
        for handle in handles:
            handle.remove()
    dead = [part.name for part in quantizers if not _set_range(part, torch.cat(samples[part.leader.name]), percentile)]
    _make_room_for_biases(network)
    return dead


def _make_room_for_biases(network: GraphNetwork) -> None:
    """Raise weight scales until every bias takes at most 2^24 steps of the accumulator grid.

    A channel with hardly any weight but some bias, as pretrained networks have, would have so fine a grid that its
    bias overflows int32. One with no weight at all takes just that scale: at scale 1 its bias would be rounded to whole
    steps of the input.
    """
    for node in network.graph.nodes:
        layer = called_module(network, node)
        if not isinstance(layer, QuantizedLayer) or not layer.bias_on_grid:
            continue
        finest = layer.bias.abs() / (attribute(network, node.args[1].target) * 2**24)
        wanted = torch.maximum(layer.weight_scale, finest)
        empty = (layer.weight.flatten(1) == 0).all(1) & (finest >= torch.finfo(torch.float32).tiny)
        layer.weight_scale.copy_(torch.where(empty, finest, wanted))
        layer.round_weight()


def _set_range(quantizer: ActivationQuantizer, sample: Tensor, percentile: float | None) -> bool:
    """Set scale and zero-point from a sample; False where the tensor is all zeros."""
    scale, zero_point = range_search.search_range(
        sample, quantizer.grid, quantizer.asymmetric, percentile, quantizer.pow2
    )
    quantizer.zero_point.fill_(zero_point)
    quantizer.scale.copy_(scale)
    return bool(sample.abs().max() > 0)


class _Names:
    """Names for quantizers, layers and products: module paths, unique in one network.

    containers: paths of modules that hold others; what they compute themselves is named with the operator behind.
    """

    def __init__(self, containers: set[str]) -> None:
        self._containers = containers
        self._taken: set[tuple[str, str]] = set()

    def of_tensor(self, node: fx.Node) -> str:
        if node.op == "placeholder":
            return INPUT_NAME
        path = module_path(node)
        if path and path not in self._containers:
            return path
        return ".".join(part for part in (path, op_name(node) or node.name) if part)

    def take(self, kind: str, wanted: str) -> str:
        """The name wanted, with a number behind it where another of its kind has it."""
        wanted = clean_path(wanted)
        name, number = wanted, 2
        while (kind, name) in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add((kind, name))
        return name


def _layer_names(graph: fx.Graph, names: _Names) -> dict[fx.Node, str]:
    """Names of all layers and activation products, whether they will be quantized or not."""
    layers = {node: names.take("layer", module_path(node) or node.name) for node in layers_of(graph)}
    return layers | {node: names.take("product", names.of_tensor(node)) for node in products_of(graph)}


def _quantizer(network: GraphNetwork, call: fx.Node) -> ActivationQuantizer:
    part = network.get_submodule(str(call.target))
    assert isinstance(part, ActivationQuantizer)
    return part


def _insert_quantizer(
    network: GraphNetwork, root: fx.Node, bits: int, sign: tuple[bool, bool], names: _Names
) -> fx.Node:
    """Put a quantizer behind `root` for all its readers; returns the call. sign: (signed, asymmetric)."""
    part = ActivationQuantizer(names.take("quantizer", names.of_tensor(root)), bits, *sign)
    return _insert_behind(network, root, part, [reader for reader in root.users if op_name(reader) != "sym_size"])


def _insert_narrower(
    network: GraphNetwork, wide: fx.Node, asking: Collection[fx.Node], bits: int, sign: tuple[bool, bool], names: _Names
) -> None:
    """Put a second quantizer behind the call `wide` of a first, for `asking` alone. sign: (signed, asymmetric)."""
    for source, readers in list(narrow_readers(wide, asking)):
        name = names.take("quantizer", f"{_quantizer(network, wide).name}_requantized")
        _insert_behind(network, source, ActivationQuantizer(name, bits, *sign), readers)


def _insert_behind(
    network: GraphNetwork, source: fx.Node, part: ActivationQuantizer, readers: Sequence[fx.Node]
) -> fx.Node:
    """Let `readers` of `source` read what `part` makes of it; returns the call."""
    target = network.add(part_name("quantizer", part.name), part)
    with network.graph.inserting_after(source):
        call = network.graph.call_module(target, (source,))
    call.meta = {key: value for key, value in source.meta.items() if key in ("val", "nn_module_stack")}
    for reader in readers:
        reader.replace_input_with(source, call)
    return call


def _scale_of(network: GraphNetwork, source: fx.Node, quantizers: dict[fx.Node, fx.Node]) -> fx.Node:
    """The get_attr node for the scale of the quantizer that `source` passed through."""
    root = root_of(source)
    call = quantizers.get(root, root)
    assert call.op == "call_module", f"{source} has no quantizer"
    return network.graph.get_attr(scale_name(str(call.target)))


def _replace_layer(
    network: GraphNetwork,
    node: fx.Node,
    name: str,
    bits: int,
    rule: TargetRule,
    quantizers: dict[fx.Node, fx.Node],
) -> None:
    arguments = _layer_arguments(network, node)
    weight = attribute(network, arguments["weight"].target)
    bias = None if arguments["bias"] is None else attribute(network, arguments["bias"].target)
    if op_name(node) == "conv2d":
        geometry = {key: arguments[key] for key in ("stride", "padding", "dilation", "groups")}
        layer = QuantizedLayer(name, "conv2d", bits, weight, bias, rule.bias_on_grid, **geometry)
    else:
        layer = QuantizedLayer(name, "linear", bits, weight, bias, bias_on_grid=False)
    layer.weight_scale.copy_(range_search.search_weight_scale(layer.weight, layer.grid))
    layer.round_weight()
    target = network.add(part_name("layer", name), layer)
    source = node.args[0]
    assert isinstance(source, fx.Node)
    with network.graph.inserting_before(node):
        call = network.graph.call_module(target, (source, _scale_of(network, source, quantizers)))
    _take_place(network, node, call)


def _layer_arguments(network: GraphNetwork, node: fx.Node) -> dict[str, Any]:
    """Arguments of aten.conv2d or aten.linear by name, defaults filled in, pairs written out."""
    normalized = node.normalized_arguments(network, normalize_to_only_use_kwargs=True)
    assert normalized is not None
    pairs = {
        key: [*normalized.kwargs[key]] * (2 // len(normalized.kwargs[key]))
        for key in ("stride", "padding", "dilation")
        if key in normalized.kwargs
    }
    return normalized.kwargs | pairs


def _keep_float(network: GraphNetwork, node: fx.Node, name: str, rule: TargetRule) -> None:
    """Move the weight of a layer that stays in float to a part that knows whose it is; the exported file shows it.

    ONNX Runtime quantizes the float weight of a convolution between a DequantizeLinear and a QuantizeLinear on its own.
    So there the input is doubled and the weight halved, which changes no bit of the result and hides the pattern.
    """
    source, weight_node = node.args[:2]
    assert isinstance(source, fx.Node) and isinstance(weight_node, fx.Node)
    weight = attribute(network, str(weight_node.target)).detach().clone()
    with network.graph.inserting_before(node):
        if rule.convolutions_write_codes and op_name(node) == "conv2d":
            doubled = network.graph.call_function(torch.ops.aten.mul.Tensor, (source, 2.0))
            doubled.meta = {key: value for key, value in source.meta.items() if key == "val"}
            doubled.meta |= {key: value for key, value in node.meta.items() if key == "nn_module_stack"}
            node.update_arg(0, doubled)
            weight *= 0.5
        holder = network.add(part_name("kept", name), FloatWeight(name, weight))
        node.update_arg(1, network.graph.get_attr(tensor_name(holder, "weight")))


def _replace_product(network: GraphNetwork, node: fx.Node, name: str, quantizers: dict[fx.Node, fx.Node]) -> None:
    target = network.add(part_name("product", name), QuantizedMatMul(name))
    left, right = node.args
    assert isinstance(left, fx.Node) and isinstance(right, fx.Node)
    with network.graph.inserting_before(node):
        arguments = (left, _scale_of(network, left, quantizers), right, _scale_of(network, right, quantizers))
        call = network.graph.call_module(target, arguments)
    _take_place(network, node, call)


def _take_place(network: GraphNetwork, node: fx.Node, call: fx.Node) -> None:
    call.meta = {key: value for key, value in node.meta.items() if key in ("val", "nn_module_stack")}
    node.replace_all_uses_with(call)
    network.graph.erase_node(node)
