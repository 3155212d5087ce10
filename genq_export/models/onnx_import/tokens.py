"""What an imported network makes tokens of, and where it lets them attend to each other.

Files have no modules called attention. It is found by what it computes: a product whose first factor is a softmax over
as many tokens as there are, or the operator that is all of it.
"""

from collections.abc import Mapping

import torch
from torch import nn

from genq_export.models.onnx_import.network import OnnxNetwork, Operator, Step
from genq_export.models.onnx_import.operators.attention import Attention

Shapes = Mapping[str, torch.Size]
_MOST_PREFIX = 16  # class, distillation and register tokens; more is another layout of tokens


def attention_products(network: OnnxNetwork, shapes: Shapes) -> tuple[str, ...]:
    """Paths of the modules that give `attention @ V`, [..., heads, tokens, width] or as `Attention` does.

    Args:
        network: with its steps.
        shapes: of what they give, by name.
    """
    soft = {name for step in network.steps if isinstance(_module(network, step), nn.Softmax) for name in step.gives}
    return tuple(step.module for step in network.steps if _is_product(network, step, shapes, soft))


def prefix_tokens(network: OnnxNetwork, shapes: Shapes) -> int:
    """Tokens that are no patch: those of the first attention less the places of the first convolution."""
    images = next((step for step in network.steps if isinstance(_module(network, step), nn.Conv2d)), None)
    first = next((step for step in network.steps if step.module in network.attention), None)
    if images is None or first is None or images.gives[0] not in shapes:
        return 0
    _, _, *places = shapes[images.gives[0]]
    added = shapes[first.gives[0]][-2] - places[0] * places[1]
    return int(added) if 0 < added <= _MOST_PREFIX else 0


def _is_product(network: OnnxNetwork, step: Step, shapes: Shapes, soft: set[str]) -> bool:
    module, reads = _module(network, step), [name for name in step.reads if isinstance(name, str)]
    if isinstance(module, Attention):
        (q, k), axis = reads[:2], -2
        return q in shapes and k in shapes and shapes[q][axis] == shapes[k][axis] > 1
    if not isinstance(module, Operator) or module.function is not torch.matmul or reads[0] not in soft:
        return False
    weights = shapes.get(reads[0], ())
    return len(weights) >= 4 and weights[-1] == weights[-2] > 1


def _module(network: OnnxNetwork, step: Step) -> nn.Module:
    return network.get_submodule(step.module)
