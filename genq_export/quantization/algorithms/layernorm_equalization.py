"""What transformers need: LayerNorm outputs whose channels differ in range get one scale all the same.

RepQ-ViT (arXiv 2212.08254): channel c of a LayerNorm output would like its own scale s_c, and a runtime has one. So the
LayerNorm is made to give x_c / r_c and every linear layer that reads it takes w_c * r_c,

    r_c = (s_c / mean(s))^a,   gain' = gain / r,   offset' = offset / r,   W' = W * r (columns)

which leaves the network what it was in exact arithmetic, and lets one scale serve all channels better. The paper has
a = 1 and shifts offsets as well, for asymmetric grids; ours are symmetric here, so nothing is shifted. [ours] a = 1/2:
what the activation gains the weight loses, whose columns then differ as much as the channels did (docs/numerics.md).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx

from genq_export.config.quantize import QuantizeConfig
from genq_export.network import range_search
from genq_export.network.aten import attribute, new_constant, op_name
from genq_export.network.grid import weight_grid
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork, range_batches

STRENGTH = 0.5
_SMALLEST_RATIO = 1e-2
_ROWS_A_BATCH = 1024


class LayernormEqualization(Method):
    """Even out LayerNorm outputs in the float network, whose ranges are searched behind."""

    name = "layernorm_equalization"
    phase = Phase.FLOAT

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """On the images that ranges are searched on; done again whenever the network is prepared anew."""
        batches, bits = range_batches(images), settings.activation_bits
        network.before_placement(lambda gm: equalize_layernorms(gm, batches, bits))
        return Findings()


LAYERNORM_EQUALIZATION = LayernormEqualization()


def equalize_layernorms(
    gm: fx.GraphModule, batches: Sequence[Tensor], bits: int, strength: float = STRENGTH
) -> list[str]:
    """Even out the channels of every LayerNorm output that only linear layers read.

    Args:
        gm: a captured float graph, changed in place.
        batches: images, float32 [B, C, H, W] each.
        bits: of the grid that the output will get.
        strength: the exponent a.

    Returns:
        Names of the nodes changed.
    """
    sites = [(node, readers) for node in gm.graph.nodes if (readers := _linear_readers(gm, node))]
    if not sites:
        return []
    scales = _channel_scales(gm, [node for node, _ in sites], batches, bits)
    for node, readers in sites:
        ratio = (scales[node] / scales[node].mean()).clamp(_SMALLEST_RATIO, 1 / _SMALLEST_RATIO) ** strength
        with torch.no_grad(), gm.graph.inserting_before(node):
            for position in (2, 3):
                old = node.args[position]
                node.update_arg(position, new_constant(gm, f"{node.name}_evened", attribute(gm, old.target) / ratio))
        for reader in readers:
            weight = attribute(gm, reader.args[1].target)  # type: ignore[union-attr, arg-type]
            with torch.no_grad(), gm.graph.inserting_before(reader):
                reader.update_arg(1, new_constant(gm, f"{reader.name}_evened", weight * ratio))
    gm.graph.eliminate_dead_code()
    gm.recompile()
    return [node.name for node, _ in sites]


def _linear_readers(gm: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The linear layers that read a LayerNorm over the last dimension; none if anything else reads it as well."""
    if op_name(node) != "layer_norm" or len(node.args) < 4 or len(node.args[1]) != 1:  # type: ignore[arg-type]
        return []
    if not all(isinstance(part, fx.Node) and part.op == "get_attr" for part in node.args[2:4]):
        return []
    readers = list(_readers(node))
    fixed = all(op_name(part) == "linear" and part.args[1].op == "get_attr" for part in readers)  # type: ignore[union-attr]
    return readers if fixed else []


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """Who reads the tensor, behind operators that leave the last dimension where it is."""
    for user in node.users:
        if _keeps_channels(user, node):
            yield from _readers(user)
        else:
            yield user


def _keeps_channels(node: fx.Node, source: fx.Node) -> bool:
    rank = len(source.meta["val"].shape)
    if op_name(node) == "reshape":
        return bool(node.meta["val"].shape[-1] == source.meta["val"].shape[-1])
    if op_name(node) == "permute":
        return bool(node.args[1][-1] in (-1, rank - 1))  # type: ignore[index, operator]
    if op_name(node) == "roll":
        return all(dim not in (-1, rank - 1) for dim in node.args[2])  # type: ignore[union-attr]
    return False


def _channel_scales(
    gm: fx.GraphModule, nodes: list[fx.Node], batches: Sequence[Tensor], bits: int
) -> dict[fx.Node, Tensor]:
    """The scale that each channel would choose for itself [C], by the search that weights' channels take."""
    samples: dict[fx.Node, list[Tensor]] = {node: [] for node in nodes}

    class Keep(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if n in samples:
                assert isinstance(result, Tensor)
                rows = result.flatten(0, -2)
                samples[n].append(rows[:: max(1, len(rows) // _ROWS_A_BATCH)])
            return result

    with torch.no_grad():
        for batch in batches:
            Keep(gm).run(batch)
    return {node: _scale_by_channel(torch.cat(rows), bits) for node, rows in samples.items()}


def _scale_by_channel(rows: Tensor, bits: int) -> Tensor:
    """rows [N, C] -> [C]; a channel of zeros, which any scale would do, takes the mean of the others."""
    scales = range_search.search_weight_scale(rows.T, weight_grid(bits))
    alive = rows.abs().amax(0) > 0
    return torch.where(alive, scales, scales[alive].mean()) if alive.any() else torch.ones_like(scales)
