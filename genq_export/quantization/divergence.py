"""Divergence of two networks' outputs."""

from torch import Tensor
from torch.nn import functional as F


def kl_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) in nats, mean over the batch.

    Args:
        student: logits [B, classes].
        teacher: logits [B, classes].

    Returns:
        Scalar, differentiable.
    """
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")
