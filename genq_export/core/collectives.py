"""Several processes train one network: each takes its share of every batch, and gradients are added up.

Every process holds the whole network and ends with the same one: sums that all of them get are the same to the bit.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genq_export.core.errors import UserError


@dataclass(frozen=True)
class TrainingRanks:
    """This process's number and how many there are (torch.distributed, as `accelerate launch` starts it)."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Is this the process that writes?"""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """The rows of a batch that this process works on; at least one."""
        if len(batch) < self.world:
            raise UserError(f"{self.world} processes cannot share a batch of {len(batch)}: raise quantize.batch_size")
        return batch[self.rank :: self.world]

    def broadcast_parameters(self, tensors: Iterable[Tensor]) -> None:
        """Make every tensor what it is in the main process, in place."""
        if self.world == 1:
            return
        for tensor in tensors:
            shared = tensor.contiguous()
            torch.distributed.broadcast(shared, 0)
            tensor.copy_(shared)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by the sum over all processes."""
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
