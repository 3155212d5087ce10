"""How much each number of a block's output counts for what the network answers.

    w_i = E[(d score / d z_i)^2] / mean over i,    score as in `tasks/score.py`

the diagonal of the Fisher information at the block's output z: the second-order cost of an error there (BRECQ, arXiv
2102.05426, eq. 10, which takes one label's gradient; the labels here are drawn from the network's own answer, so that
none is needed). [ours] It is a mean over images, and a number's place in the map counts: the class token of a
transformer, the middle of a picture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from genq_export.network.hooks import device_of, set_quantization
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.blocks import Block, run_blocks
from genq_export.tasks.score import Score

IMAGES = 1024  # at most: a pass forward and one back through all blocks behind, once a block
_BATCH = 32


def importance_of(target: ActivationStore, behind: Sequence[Block], score: Score, seed: int) -> Tensor | None:
    """Importance of the numbers of a block's output, float32 of the shape of a target, with a mean of 1; on the CPU.

    Args:
        target: what the float block gives, [N, ...].
        behind: the blocks that follow, which are run in float.
        score: of an answer.
        seed: of what is drawn.

    Returns:
        None where nothing is behind the block, or no gradient comes back (`loss: fisher` is plain there).
    """
    if not behind:
        return None
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(target.shape[1:], dtype=torch.float64)
    _set(behind, False)
    try:
        for start in range(0, min(len(target), IMAGES), _BATCH):
            given = target.read(start, min(start + _BATCH, len(target), IMAGES))
            total += _squared_gradients(given, list(behind), score, generator)
    finally:
        _set(behind, True)
    mean = float(total.mean())
    return (total / mean).float() if mean > 0 and torch.isfinite(total).all() else None


def _squared_gradients(given: Tensor, behind: list[Block], score: Score, generator: torch.Generator) -> Tensor:
    """Sum over a batch [B, ...] of what comes back to it, squared; on the CPU."""
    z = given.to(device_of(behind[0].module)).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(run_blocks(behind, z), generator), z)
    return gradient.double().square().sum(0).cpu()


def _set(blocks: Sequence[Block], enabled: bool) -> None:
    for block in blocks:
        set_quantization(block.module, enabled)
