"""GELU between two linear layers is replaced by ReLU, and both layers learn to give what they gave.

After APHQ-ViT (arXiv 2504.02508), which refits the MLPs of transformers before it quantizes them: behind ReLU no number
is negative, so all codes of the grid are used, and runtimes clip codes in the place of computing GELU in float. Off
unless `relu_refit.steps` asks for it, as the float network becomes another one.

    min over W1, b1, W2, b2 of E |relu(x W1' + b1) W2' + b2 - y|^2

with x what the MLP is given in the network refitted so far, y what its second layer gives in the float network, by Adam
on random positions of random images. [ours] Plain squared error; the paper weighs it by a perturbation Hessian.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import refuse
from genq_export.network.aten import attribute, module_path, new_constant, op_name
from genq_export.network.hooks import device_of
from genq_export.quantization.activation_cache import ActivationCache, ActivationStore
from genq_export.quantization.algorithms.cosine import cosine
from genq_export.quantization.blockwise import BlockStore
from genq_export.quantization.method import Method, MethodContext, Phase
from genq_export.quantization.summary import Findings, RefittedMlp
from genq_export.quantization.working_network import WorkingNetwork

RATE = 0.05  # of Adam, in root mean squares of the weight
POSITIONS = 2048  # a step learns from, at most
_JUDGED_IMAGES = 64


class ReluRefit(Method):
    """Refit every MLP in the float network, from the input on; bits and grids are decided behind."""

    name = "relu_refit"
    phase = Phase.FLOAT

    def problems(self, floats: fx.Graph, settings: QuantizeConfig, device: torch.device) -> list[str]:
        """Is there no GELU between two linear layers?"""
        if mlps_of(floats):
            return []
        return [
            "quantize.relu_refit: no GELU of this network lies between two linear layers, so there is nothing to"
            " replace: leave quantize.relu_refit.steps at 0"
        ]

    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Go through the MLPs; one that a killed run has finished is read.

        Raises:
            UserError: for `problems`.
        """
        floats = network.captured()
        refuse(self.problems(floats.graph, settings, device_of(floats)))
        mlps = mlps_of(floats.graph)
        store = BlockStore.in_folder(context.partial / self.name)
        refitted, learned, found = deepcopy(floats), {}, []
        for number, mlp in enumerate(context.progress.track(mlps, len(mlps), "refit MLPs")):
            weights = store.load(number)
            if weights is None:
                given = _rows(refitted, mlp.given, images, context.cache)
                wanted = _rows(floats, mlp.second, images, context.cache)
                weights = refit(mlp.weights(floats), given, wanted, settings, context.seed + number)
                store.save(number, weights)
                context.cache.release(given)
                context.cache.release(wanted)
            learned[mlp.gelu] = weights
            replace_gelu(refitted, {mlp.gelu: weights})
            found.append(RefittedMlp(name=mlp.name, error=float(weights["error"])))
            context.progress.detail(f"  {mlp.name}: GELU replaced by ReLU, error {found[-1].error:.2%}")
        network.before_placement(lambda gm: replace_gelu(gm, learned))
        return Findings(relu_refit=tuple(found))


RELU_REFIT = ReluRefit()


@dataclass(frozen=True)
class Mlp:
    """Two linear layers with GELU between them, by the names of their nodes in a captured graph.

    name: of the module that GELU is called in. given: node that the first layer reads. gelu, second: nodes.
    """

    name: str
    given: str
    gelu: str
    second: str

    def weights(self, gm: fx.GraphModule) -> dict[str, Tensor]:
        """Of both layers: `0.weight`, `0.bias`, `1.weight`, `1.bias`; no bias where there is none."""
        return {
            name: attribute(gm, str(layer.args[position].target)).detach().clone()  # type: ignore[union-attr]
            for name, layer, position in _tensors(_node(gm, self.gelu))
        }


def _tensors(gelu: fx.Node) -> list[tuple[str, fx.Node, int]]:
    """Weights and biases around a GELU: name, layer, and which of the layer's arguments it is."""
    return [
        (f"{number}.{part}", layer, position)
        for number, layer in enumerate((gelu.all_input_nodes[0], next(iter(gelu.users))))
        for position, part in ((1, "weight"), (2, "bias"))
        if isinstance((*layer.args, None)[position], fx.Node)
    ]


def mlps_of(graph: fx.Graph) -> list[Mlp]:
    """Every GELU that reads a linear layer alone and is read by a linear layer alone, in the order they run."""
    found = []
    for node in graph.nodes:
        if op_name(node) != "gelu" or len(node.users) != 1:
            continue
        first, second = node.args[0], next(iter(node.users))
        if _is_linear(first) and _is_linear(second) and len(first.users) == 1 and second.args[0] is node:
            name = module_path(node).rpartition(".")[0] or node.name
            found.append(Mlp(name, first.args[0].name, node.name, second.name))
    return found


def _is_linear(node: fx.Node) -> bool:
    tensors = node.args[1:3]
    return op_name(node) == "linear" and all(part is None or part.op == "get_attr" for part in tensors)  # type: ignore[union-attr]


def replace_gelu(gm: fx.GraphModule, learned: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put ReLU in the place of GELU, and learned weights around it, in a captured graph. learned: by GELU's node."""
    for name, weights in learned.items():
        node = _node(gm, name)
        for part, layer, position in _tensors(node):
            before = attribute(gm, str(layer.args[position].target))  # type: ignore[union-attr]
            with gm.graph.inserting_before(layer):
                constant = new_constant(gm, f"{node.name}_{part.replace('.', '_')}_refitted", weights[part].to(before))
                layer.update_arg(position, constant)
        node.target, node.kwargs = torch.ops.aten.relu.default, {}
    gm.graph.eliminate_dead_code()
    gm.recompile()


def refit(
    weights: Mapping[str, Tensor], given: ActivationStore, wanted: ActivationStore, settings: QuantizeConfig, seed: int
) -> dict[str, Tensor]:
    """Learn the weights of one MLP with ReLU.

    Args:
        weights: `0.weight` [H, D], `1.weight` [D', H], and biases where there are any, as the float network has them;
            computing is done where they are.
        given: what the MLP reads, [N, ..., D].
        wanted: what it is to give, [N, ..., D'].
        settings: steps and images a step.
        seed: of the images and positions chosen.

    Returns:
        The weights on the CPU, and `error`: the squared error left, as a share of the square of what is wanted.
    """
    generator = torch.Generator().manual_seed(seed)
    learned = {name: value.clone().requires_grad_() for name, value in weights.items()}
    sizes = {name: float(weights[f"{name[0]}.weight"].square().mean().sqrt()) for name in learned}
    optimizer = torch.optim.Adam([{"params": [learned[name]], "lr": RATE * size} for name, size in sizes.items()])
    steps, device = settings.relu_refit.steps, weights["0.weight"].device
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(steps))
    with torch.enable_grad():
        for _ in range(steps):
            chosen = torch.randint(len(given), (settings.batch_size,), generator=generator)
            x, y = (_positions(rows, chosen) for rows in (given, wanted))
            taken = torch.randperm(len(x), generator=generator)[:POSITIONS]
            loss = (mlp_with_relu(x[taken].to(device), learned) - y[taken].to(device)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    found = {name: value.detach() for name, value in learned.items()}
    judged = torch.arange(min(len(given), _JUDGED_IMAGES))
    x, y = (_positions(rows, judged).to(device) for rows in (given, wanted))
    error = (mlp_with_relu(x, found) - y).square().mean() / y.square().mean().clamp_min(torch.finfo(y.dtype).tiny)
    return {name: value.cpu() for name, value in found.items()} | {"error": error.cpu()}


def mlp_with_relu(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """[..., D] -> [..., D']."""
    hidden = F.relu(F.linear(x, weights["0.weight"], weights.get("0.bias")))
    return F.linear(hidden, weights["1.weight"], weights.get("1.bias"))


def _positions(rows: ActivationStore, chosen: Tensor) -> Tensor:
    """All positions of the images chosen, [P, D]."""
    values, places = rows.gather(chosen)
    return values[places].flatten(0, -2)


def _rows(gm: fx.GraphModule, name: str, images: ActivationStore, cache: ActivationCache) -> ActivationStore:
    """What a node gives for every image."""
    part, device = _up_to(gm, name), device_of(gm)

    @torch.no_grad()
    def values(batch: Tensor) -> Tensor:
        found: Tensor = part(batch.to(device))
        return found.cpu()

    return cache.computed(images, values)


def _up_to(gm: fx.GraphModule, name: str) -> fx.GraphModule:
    """The graph as far as one node, which is its answer; tensors are shared."""
    part = fx.GraphModule(gm, deepcopy(gm.graph))
    next(node for node in part.graph.nodes if node.op == "output").args = (_node(part, name),)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part


def _node(gm: fx.GraphModule, name: str) -> fx.Node:
    found: fx.Node = next(node for node in gm.graph.nodes if node.name == name)
    return found
