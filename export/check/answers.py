"""What the integer model makes of an image, with codes as the file's containers hold them."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from export.check.golden import Answers, Compute
from genq_export.network.containers import container_shift
from genq_export.network.hooks import record_codes
from genq_export.network.integer import IntegerQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.outputs import by_name


def answering(integer_model: GraphNetwork, containers: Mapping[str, str]) -> Compute:
    """What computes outputs by name, and codes by quantizer.

    Args:
        integer_model: what the file stands for.
        containers: "uint8" or "int8" by quantizer, as the file has them.
    """
    shifts = {
        part.name: container_shift(containers[part.name], part.lo, part.hi)
        for part in integer_model.modules()
        if isinstance(part, IntegerQuantizer)
    }

    def answers(batch: NDArray[np.float32]) -> Answers:
        answer, codes = record_codes(integer_model, torch.from_numpy(batch))
        outputs = {name: tensor.numpy() for name, tensor in by_name(answer).items()}
        return outputs, {name: found.numpy() + shifts[name] for name, found in codes.items()}

    return answers
