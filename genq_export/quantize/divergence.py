"""How far answers lie apart."""

from torch import Tensor
from torch.nn import functional as F


def kl_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)), mean over the batch; both [B, classes] logits."""
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")
