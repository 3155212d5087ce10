"""The score of an answer: a number whose gradients tell what counts in it.

For logits it is log p(y) of a class y that is drawn from the float network's own softmax p: the mean of its gradient's
outer product is the Fisher information, which is the Hessian of KL(p || q) where q = p (Martens, arXiv 1412.1193,
section 5). For other outputs it is a projection of each on random directions, as a share of the output: the same for
the relative squared error.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from genq_export.network.outputs import Answer, by_name
from genq_export.tasks.classification import CLASSIFICATION
from genq_export.tasks.task import Task

Score: TypeAlias = Callable[[Answer, torch.Generator], Tensor]
_TINY = 1e-12


def score_of(task: Task) -> Score:
    """Of answers of this kind: takes a float answer and what draws random numbers on the CPU, gives a scalar."""

    def score(answer: Answer, generator: torch.Generator) -> Tensor:
        logits = task.logits(answer)
        if logits is None:
            return sum((_projection(tensor, generator) for tensor in by_name(answer).values()), torch.zeros(()))
        return _log_probability(logits, generator)

    return score


def _log_probability(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Of one class drawn at every position, summed. logits: [B, classes] or [B, classes, ...]."""
    rows = logits.movedim(1, -1).flatten(0, -2).log_softmax(1)
    drawn = torch.multinomial(rows.detach().exp().cpu(), 1, generator=generator).to(rows.device)
    return rows.gather(1, drawn).sum()


def _projection(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """On a normal direction, over the root of the tensor's mean square."""
    direction = torch.randn(tensor.shape, generator=generator).to(tensor.device)
    return (tensor * direction).sum() / tensor.detach().square().mean().sqrt().clamp_min(_TINY)


OF_CLASSES = score_of(CLASSIFICATION)
