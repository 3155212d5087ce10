"""Several processes draw one pool: who am I, and what do we agree on (Hugging Face Accelerate, torch.distributed).

Started by `accelerate launch --multi_gpu --num_processes N …` or torchrun, which set the environment this reads. Chunks
are dealt out in turn, so no process needs to know what another did; what is drawn does not depend on their number.
"""

import os
from collections.abc import Callable, Iterator
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

    def mine(self, chunk: int) -> bool:
        """Does chunk number `chunk` fall to this process?"""
        return chunk % self.world == self.rank

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            import torch

            torch.distributed.barrier()

    def agree(self, value: Value) -> Value:
        """What the main process gives, in every process."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        shared = [value]
        broadcast_object_list(shared)
        return shared[0]

    @contextmanager
    def helped(self) -> Iterator[Callable[[], None]]:
        """In the main process: the others stand by. What it yields calls them to draw; not called, they go home.

        They are told once, whatever happens inside, an error too: none is left waiting.
        """
        called = False

        def call() -> None:
            nonlocal called
            called = True
            self.agree(True)

        try:
            yield call
        finally:
            if not called:
                self.agree(False)

    def called_to_draw(self) -> bool:
        """In the other processes: wait for the main one, and return whether it needs help."""
        return self.agree(False)


def join_ranks(device: str) -> Ranks:
    """Join the other processes where there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    return Ranks(state.process_index, state.num_processes)
