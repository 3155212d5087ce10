"""Several processes draw one pool: who am I, and what do we agree on (Hugging Face Accelerate, torch.distributed).

Started by `accelerate launch --multi_gpu --num_processes N …` or torchrun, which set the environment this reads. Chunks
are dealt out in turn, so no process needs to know what another did; what is drawn does not depend on their number.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Value = TypeVar("Value")
_PATIENCE = timedelta(hours=12)  # a rank may wait for another that draws, or for the main one that scores


@dataclass(frozen=True)
class Ranks:
    """This process's number and how many there are. The main one scores, selects and writes the set."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Is this the process that writes?"""
        return self.rank == 0

    def owns(self, chunk: int) -> bool:
        """Does chunk number `chunk` fall to this process?"""
        return chunk % self.world == self.rank

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            import torch

            torch.distributed.barrier()

    def broadcast(self, value: Value) -> Value:
        """What the main process gives, in every process."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        shared = [value]
        broadcast_object_list(shared)
        return shared[0]

    @contextmanager
    def helped(self) -> Iterator["Helpers"]:
        """In the main process: the others stand by inside. They go home at the end, after an error too."""
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
    """The other processes as the main one sees them: standing by, at work on a task, or gone home."""

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
    """Join the other processes where there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    # Its functions keep the group that they find when they are imported (diffusers does it); so, while there is none.
    import torch.distributed.nn  # noqa: F401
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    atexit.register(state.destroy_process_group)  # its threads may not outlive the interpreter (SIGABRT)
    return Ranks(state.process_index, state.num_processes)
