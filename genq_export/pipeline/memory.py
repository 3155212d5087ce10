"""A stage that runs out of memory says what to lower."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from genq_export.core.errors import UserError

_LOWER = {
    "calibrate": "draw fewer images together (--set calibrate.batch_size=1), or smaller ones (--set calibrate.size=N)",
    "quantize": "keep less in memory (--memory-budget 200MB) and fewer images a step (--set quantize.batch_size=8)",
    "verify": "compute fewer images together (--set verify.batch_size=1, --set verify.latency_batches=[1])",
}
_OTHERWISE = "end other programs, or use a machine with more"
_SAID_BY_TORCH = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def memory_watched(stage: str) -> Iterator[None]:
    """Inside, a lack of memory becomes a UserError that names the settings of this stage that need less."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_lack_of_memory(error):
            raise
        raise UserError(f"{stage}: out of memory: {_LOWER.get(stage, _OTHERWISE)}; finished stages stay") from None


def is_lack_of_memory(error: BaseException) -> bool:
    """Does an error of Python, the operating system or torch say that memory is short?"""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _SAID_BY_TORCH)
