"""Networks that give probabilities: what their logits were, and how it is seen that an answer is made of some.

Probabilities all have one energy, so what enters the last softmax or sigmoid is what counts. It is watched
wherever torch is called, so that it is seen in any form: a module, a function, a node of an exported program.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from genq_export.network.outputs import Answer

_GIVE_PROBABILITIES = ("softmax", "log_softmax", "sigmoid", "logsigmoid", "log_sigmoid", "expit")
_LARGEST = 2**24  # numbers: attention gives more than any classifier, and would be kept alive
_IMAGES = 2
_CLOSE = 1e-3


class LastProbabilities(TorchFunctionMode):
    """While active, remembers what the last softmax or sigmoid read and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.read: Tensor | None = None
        self.gave: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as ever."""
        found = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", "")).partition(".")[0]
        if name in _GIVE_PROBABILITIES and isinstance(found, Tensor) and found.numel() <= _LARGEST:
            self.read, self.gave = args[0] if args else kwargs["input"], found
        return found

    def in_front(self, answer: Answer) -> Answer:
        """The answer with what entered the softmax, where one gave it, in the place of what came out."""
        if isinstance(answer, dict):
            return {name: self._logits(part) for name, part in answer.items()}
        return self._logits(answer)

    def _logits(self, part: Tensor) -> Tensor:
        read, gave = self.read, self.gave
        if read is None or gave is None or gave.shape.numel() != part.shape.numel():
            return part
        if gave.data_ptr() != part.data_ptr() or not gave.is_contiguous():
            return part
        return read.contiguous().as_strided(part.shape, part.stride())  # another view of the same numbers


@torch.no_grad()
def hides_logits(
    module: nn.Module, input_size: tuple[int, int, int], scores: Callable[[Answer], Tensor | None]
) -> bool:
    """Are the numbers that a network gives for classes probabilities whose logits cannot be seen, tried on noise?

    scores: [B, classes, ...] of what the network gives; None: it gives none.
    """
    with LastProbabilities() as last:
        answer = module(torch.randn(_IMAGES, *input_size, generator=torch.Generator().manual_seed(0)))
        found = scores(last.in_front(answer))
    return found is not None and _are_probabilities(found.double())


def _are_probabilities(found: Tensor) -> bool:
    """Do they, or their exponentials, add up to 1 over the classes, which are the second axis?"""
    one = torch.ones_like(found[:, 0])
    if found.shape[1] == 1:
        return False
    plain = bool((found >= 0).all()) and torch.allclose(found.sum(1), one, atol=_CLOSE)
    return plain or torch.allclose(found.exp().sum(1), one, atol=_CLOSE)
