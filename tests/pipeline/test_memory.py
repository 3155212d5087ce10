"""A lack of memory names what to lower; anything else goes through."""

import errno

import pytest

from genq_export.config.build import BuildConfig
from genq_export.config.settings import parameters, settings_of
from genq_export.core.errors import UserError
from genq_export.pipeline.memory import memory_watched
from genq_export.pipeline.stages import STAGES

# As CPython, the system, torch on the CPU (two of its allocators) and torch on a GPU say it.
SHORT = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4398046511104 bytes."),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:20])
@pytest.mark.parametrize("stage", STAGES)
def test_what_can_be_lowered_is_there(stage: str, error: Exception) -> None:
    with pytest.raises(UserError, match=f"^{stage}: out of memory: ") as caught, memory_watched(stage):
        raise error
    names = {setting.name for setting in settings_of(BuildConfig)}
    flags = {flag for option in parameters(BuildConfig, "build") for flag in option.flags}
    for word in str(caught.value).replace("(", " ").replace(",", " ").split():
        assert word in flags or not word.startswith("--") or word == "--set"
        assert "=" not in word or word.partition("=")[0] in names


@pytest.mark.parametrize("error", [RuntimeError("shapes"), OSError(errno.ENOSPC, "full"), ValueError()])
def test_any_other_error_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory_watched("quantize"):
        raise error
    assert caught.value is error
