"""The machine that a measurement belongs to: its name, its cores, and what is installed on it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runtime_tests.verify.measured_here import machine_name
from runtime_tests.verify.results import Machine


def this_machine() -> Machine:
    """Name and hardware of this machine, as far as the operating system tells."""
    return Machine(
        name=machine_name(),
        cpu=_cpu_name(),
        cores=usable_cores(),
        memory_gib=round(_memory_bytes() / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        gpu=_gpu_name(),
    )


def usable_cores() -> int:
    """Cores this process may use: a container often sees more than it gets."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_each(backends: int) -> int:
    """Threads for each of several backends that work at the same time."""
    return max(1, usable_cores() // backends)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch threads started inside use `count` threads each."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def further_versions() -> dict[str, str]:
    """Versions of the runtimes that `package_versions` does not list, as far as they are installed."""
    found = {}
    for name in ("openvino", "tensorrt", "tensorrt-rtx", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 0


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
