"""Several processes make one build: who am I, what is my share, what do all of us know (Accelerate, torch.distributed).

Started by `accelerate launch --multi_gpu --num_processes N …` or torchrun, which set the environment this reads. The
main process runs the stages; the others help where there is work to share and wait in between. Chunks of images are
dealt out in turn, so what is drawn does not depend on the number of processes. In training every process holds the
whole network and ends with the same one: sums that all of them get are the same to the bit.
"""

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from genq_export.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

Value = TypeVar("Value")
_TIMEOUT = timedelta(hours=12)  # a rank may wait for another that draws, or for the main one that scores


@dataclass(frozen=True)
class Ranks:
    """This process's number (its rank) and how many there are. The main one, rank 0, writes all files but images."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Is this the process that writes?"""
        return self.rank == 0

    def owns(self, chunk: int) -> bool:
        """Does chunk number `chunk` fall to this process?"""
        return chunk % self.world == self.rank

    def share(self, batch: "Tensor") -> "Tensor":
        """Return the rows of a batch that this process works on, at least one.

        Raises:
            UserError: where there are fewer rows than processes.
        """
        if len(batch) < self.world:
            raise UserError(f"{self.world} processes cannot share a batch of {len(batch)}: raise quantize.batch_size")
        return batch[self.rank :: self.world]

    def wait(self) -> None:
        """Return when every process has come here (a barrier)."""
        if self.world > 1:
            import torch

            torch.distributed.barrier()

    def broadcast(self, value: Value) -> Value:
        """Return what the main process gives, in every process."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        shared = [value]
        broadcast_object_list(shared)
        return shared[0]

    def broadcast_parameters(self, tensors: "Iterable[Tensor]") -> None:
        """Make every tensor what it is in the main process, in place."""
        if self.world == 1:
            return
        import torch

        for tensor in tensors:
            shared = tensor.contiguous()
            torch.distributed.broadcast(shared, 0)
            tensor.copy_(shared)

    def add_gradients(self, parameters: "Iterable[nn.Parameter]") -> None:
        """Replace every gradient by the sum over all processes (an all-reduce)."""
        if self.world == 1:
            return
        import torch

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    @contextmanager
    def helped(self) -> Iterator["Helpers"]:
        """In the main process: the others stand by inside. They are released at the end, after an error too."""
        helpers = Helpers(self)
        try:
            yield helpers
        finally:
            helpers.release()

    def tasks(self) -> Iterator[object]:
        """In the other processes: what the main one wants help with, until it wants none."""
        while (task := self._next_task()) is not None:
            yield task

    def _next_task(self) -> object:
        try:
            return self.broadcast(None)
        except RuntimeError:  # the connection is closed: the main process has ended, and said why
            raise SystemExit(1) from None


class Helpers:
    """The other processes as the main one sees them: standing by, at work on a task, or released."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._standing_by = True

    @contextmanager
    def at(self, task: object) -> Iterator[None]:
        """Inside, all processes work on `task`.

        Where that fails here, the others are not told, since they may be waiting for something else: this process ends,
        and the launcher ends them.
        """
        self._ranks.broadcast(task)
        self._standing_by = False
        yield
        self._standing_by = True

    def release(self) -> None:
        """Nothing is left to help with."""
        if self._standing_by:
            self._ranks.broadcast(None)
        self._standing_by = False


def join_ranks(device: str) -> Ranks:
    """Join the other processes where there are any.

    Args:
        device: of the build; on `cpu` the processes talk through gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    # Its functions keep the group that they find when they are imported (diffusers does it); so, while there is none.
    import torch.distributed.nn  # noqa: F401
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_TIMEOUT)
    atexit.register(state.destroy_process_group)  # its threads may not outlive the interpreter (SIGABRT)
    return Ranks(state.process_index, state.num_processes)
