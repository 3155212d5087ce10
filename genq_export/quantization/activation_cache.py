"""Activations of all images (pixels, block inputs, targets): in memory while the budget lasts, in files beyond it.

Files are read and written with plain calls, a batch at a time: a memory map would count as memory of the process as
soon as it is read. Only where a part of a row is wanted that row is mapped, for as long as it takes to copy it. A file
has no name once it is open, so nothing is left behind however the process ends.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from genq_export.core.errors import UserError, reason_of

Part = Callable[[Tensor], Tensor]

_BATCH = 32  # activations of a block stay in the processor's cache


class ActivationStore(Protocol):
    """N float32 tensors of one shape, `shape` = (N, ...)."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def write(self, start: int, values: Tensor) -> None:
        """Write values [B, ...] to rows `start` to `start + B`."""

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop`, [B, ...]; not to be changed."""

    def gather(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return a tensor, and which rows of it are the rows chosen.

        Args:
            chosen: row numbers, int64 [B].

        Returns:
            A tensor [M, ...] and row numbers int64 [B] in it. In memory it is the whole store, so nothing is copied.
        """

    def parts(self, chosen: Tensor, take: Sequence[Part] | None) -> list[Tensor]:
        """Return of each row chosen (int64 [B]) the part that `take` takes of it as a view; None: all of it.

        What is returned is not to be changed.
        """

    def close(self) -> None:
        """Give back memory or disk."""


class ActivationsInMemory:
    """A store in one tensor."""

    def __init__(self, values: Tensor) -> None:
        self.shape = tuple(values.shape)
        self._values = values

    def __len__(self) -> int:
        return self.shape[0]

    def write(self, start: int, values: Tensor) -> None:
        self._values[start : start + len(values)] = values

    def read(self, start: int, stop: int) -> Tensor:
        return self._values[start:stop]

    def gather(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return self._values, chosen

    def parts(self, chosen: Tensor, take: Sequence[Part] | None) -> list[Tensor]:
        rows = [self._values[row] for row in chosen.tolist()]
        return rows if take is None else [part(row) for part, row in zip(take, rows, strict=True)]

    def close(self) -> None:
        self._values = torch.empty(0)


class ActivationsOnDisk:
    """A store in a file of native float32 numbers.

    Raises:
        UserError: where the disk has no room for it.
    """

    def __init__(self, shape: tuple[int, ...], folder: Path) -> None:
        self.shape = shape
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as the store is in use
        self._row_bytes = 4 * math.prod(shape[1:])
        size = self._row_bytes * shape[0]
        try:
            _reserve(self._file.fileno(), max(1, size))
        except OSError as error:
            raise UserError(
                f"no room for {size / 1e9:.1f} GB of block inputs in {folder} ({reason_of(error)}): free some, raise"
                " --memory-budget, or use fewer images"
            ) from None

    def __len__(self) -> int:
        return self.shape[0]

    def write(self, start: int, values: Tensor) -> None:
        self._file.seek(start * self._row_bytes)
        self._file.write(values.contiguous().numpy().data.cast("B"))
        self._file.flush()  # so that what is mapped has it

    def read(self, start: int, stop: int) -> Tensor:
        found = torch.empty((stop - start, *self.shape[1:]))
        self._fill(found, start)
        return found

    def gather(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.empty((len(chosen), *self.shape[1:]))
        for place, row in enumerate(chosen.tolist()):
            self._fill(found[place : place + 1], row)
        return found, torch.arange(len(chosen))

    def parts(self, chosen: Tensor, take: Sequence[Part] | None) -> list[Tensor]:
        if take is None:
            return list(self.gather(chosen)[0])
        return [self._part(row, part) for row, part in zip(chosen.tolist(), take, strict=True)]

    def close(self) -> None:
        self._file.close()

    def _part(self, row: int, take: Part) -> Tensor:
        """Copied from a map of this row alone, of which only the pages that the part lies on are read."""
        first = row * self._row_bytes
        offset = first % mmap.ALLOCATIONGRANULARITY
        length = offset + self._row_bytes
        # A private copy, as torch takes no buffer that must not be written to.
        with mmap.mmap(self._file.fileno(), length, offset=first - offset, access=mmap.ACCESS_COPY) as mapped:
            values = torch.frombuffer(mapped, dtype=torch.float32, count=self._row_bytes // 4, offset=offset)
            part = take(values.view(self.shape[1:])).clone()
            del values
        return part

    def _fill(self, target: Tensor, start: int) -> None:
        self._file.seek(start * self._row_bytes)
        self._file.readinto(target.numpy().data.cast("B"))


class ActivationCache:
    """Gives out stores: in memory until `budget` bytes are in use, then in files in `folder`."""

    def __init__(self, budget: int, folder: Path) -> None:
        self._left = budget
        self._folder = folder
        self._held: dict[int, int] = {}

    def rows(self, shape: tuple[int, ...]) -> ActivationStore:
        """Return a store for N tensors of one shape, (N, ...)."""
        size = 4 * math.prod(shape)
        if size > self._left:
            return ActivationsOnDisk(shape, self._folder)
        self._left -= size
        rows = ActivationsInMemory(torch.empty(shape))
        self._held[id(rows)] = size
        return rows

    def computed(self, source: ActivationStore, compute: Callable[[Tensor], Tensor]) -> ActivationStore:
        """Return a store of what `compute` makes of every row of `source`, [B, ...] -> [B, ...] on the CPU."""
        kept: ActivationStore | None = None
        for start, stop in batches(len(source)):
            values = compute(source.read(start, stop))
            kept = self.rows((len(source), *values.shape[1:])) if kept is None else kept
            kept.write(start, values)
        assert kept is not None
        return kept

    def release(self, rows: ActivationStore) -> None:
        """Close a store and give its memory back to the budget."""
        self._left += self._held.pop(id(rows), 0)
        rows.close()


def batches(count: int) -> list[tuple[int, int]]:
    """First row and the one behind the last of every batch in which `count` rows are gone through."""
    return [(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]


def _reserve(descriptor: int, size: int) -> None:
    """Give the file its size; where the system can, with room on the disk for all of it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.ftruncate(descriptor, size)
