"""How far one answer is from another, differentiable, over any shapes."""

from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-12


def kl_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) in nats over the second axis, mean over all others.

    Args:
        student: logits [B, classes] or [B, classes, ...].
        teacher: the same.

    Returns:
        Scalar, differentiable.
    """
    student, teacher = _rows(student), _rows(teacher)
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error as a share of the teacher's power: 10^(-SQNR / 10). A scalar, differentiable."""
    return (student - teacher).square().sum() / teacher.square().sum().clamp_min(_TINY)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the two, each image [B, ...] as one vector, mean over the batch. A scalar, differentiable."""
    return 1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=1).mean()


def _rows(logits: Tensor) -> Tensor:
    """[B, classes, ...] -> [B * ..., classes]."""
    return logits if logits.ndim == 2 else logits.movedim(1, -1).flatten(0, -2)
