"""Constants in front of concatenations that join tensors of unlike ranges.

What a concatenation joins shares one grid. Where one part reaches 40 and another 0.2, the small one has two codes.
Behind ReLU the weights in front can make up for it (`channel_ties`); behind an operator that commutes with no factor
(SiLU, GELU) a multiplication with a constant a channel can, which is put in here with the constant 1.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, fx

from genq_export.network.aten import attribute, is_constant, new_constant, op_name
from genq_export.quantization.channel_ties import FIXED, ChannelTies, channel_ties

_aten = torch.ops.aten
_UNLIKE = 4.0  # largest over smallest: two bits of the small part


def free_concatenations(gm: fx.GraphModule, batches: Sequence[Tensor]) -> set[fx.Node]:
    """Put constants in front of what concatenations of unlike ranges join, where nothing else takes up factors.

    Args:
        gm: A captured float graph, changed in place; it computes what it did.
        batches: images, float32 [B, C, H, W] each.

    Returns:
        The new multiplications.
    """
    ties = channel_ties(gm)
    joining = [node for node in gm.graph.nodes if op_name(node) == "cat" and node in ties.channels]
    joined = {node: [part for part in node.args[0] if not is_constant(part)] for node in joining}
    parts = {node: own for node, own in joined.items() if any(_is_fixed(ties, part) for part in own)}
    largest = largest_by_channel(gm, {part for own in parts.values() for part in own}, batches)
    made: set[fx.Node] = set()
    for node, own in parts.items():
        reaches = [float(largest[part].max()) for part in own]
        if min(reaches) > 0 and max(reaches) > _UNLIKE * min(reaches):
            made |= {_multiplied(gm, node, part) for part in own if _is_fixed(ties, part)}
    return made


def largest_by_channel(
    gm: fx.GraphModule, wanted: Collection[fx.Node], batches: Sequence[Tensor]
) -> dict[fx.Node, Tensor]:
    """The largest absolute number of every channel, float32 [C], of the tensors wanted, [B, C, ...] each."""
    found: dict[fx.Node, Tensor] = {}
    if not wanted:
        return found

    class Keep(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if n in wanted:
                assert isinstance(result, Tensor)
                most = result.abs().flatten(2).amax((0, 2)) if result.dim() > 2 else result.abs().amax(0)
                found[n] = torch.maximum(found[n], most) if n in found else most
            return result

    with torch.no_grad():
        for batch in batches:
            Keep(gm).run(batch)
    return found


def scale_constant(gm: fx.GraphModule, node: fx.Node, factor: Tensor) -> None:
    """Multiply the constant of a multiplication, factor: [C]; one whose factors are all 1 is taken out."""
    source, constant = node.args[:2]
    assert isinstance(constant, fx.Node) and isinstance(source, fx.Node)
    if bool((factor == 1).all()):
        node.replace_all_uses_with(source)
        gm.graph.erase_node(node)
        return
    value = attribute(gm, str(constant.target))
    with torch.no_grad(), gm.graph.inserting_before(node):
        node.update_arg(1, new_constant(gm, f"{constant.target}_evened", value * factor.view_as(value).to(value)))


def _is_fixed(ties: ChannelTies, part: fx.Node) -> bool:
    return bool((ties.of(part) == FIXED).all())


def _multiplied(gm: fx.GraphModule, node: fx.Node, part: fx.Node) -> fx.Node:
    """The same numbers, by way of a constant [C, 1, 1] or [C]."""
    value = part.meta["val"]
    ones = torch.ones(value.shape[1], *[1] * (value.dim() - 2))
    with gm.graph.inserting_before(node):
        product = gm.graph.call_function(_aten.mul.Tensor, (part, new_constant(gm, f"{part.name}_factor", ones)))
    product.meta.update(part.meta)
    node.replace_input_with(part, product)
    return product
