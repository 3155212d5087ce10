"""What a runtime is: something that loads a deployed file and gives logits, and the codes at every quantizer."""

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from genq_export.config.target import TargetRule
from genq_export.core.platforms import peak_memory_mib
from genq_export.runtimes.timing import Call, Stopwatch, wall_clock

Batch = NDArray[np.float32]
Outputs = dict[str, NDArray[np.float32]]
Codes = dict[str, NDArray[Any]]


class Backend(Protocol):
    """A network that is loaded and answers, in this process or in another.

    name: key in results (`onnxruntime`). title: what a reader sees, with the version. device: where it computes.
    """

    name: str
    title: str
    device: str

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name. Raises BackendError."""

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """As `outputs`, with codes by quantizer name, in the integer type of their container. Raises BackendError."""

    def close(self) -> None:
        """Free what the runtime holds."""


class Session(ABC):
    """A `Backend` over one file in this process, and what timing needs of it."""

    name: str
    title: str
    device: str = "cpu"

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name. Raises BackendError."""

    @abstractmethod
    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and codes of a copy of the graph that has every code tensor as an output. Raises BackendError."""

    @abstractmethod
    def close(self) -> None:
        """Free what the runtime holds."""

    def prepared(self, batch: Batch) -> tuple[Call, bool | None]:
        """One call that computes this very batch, and whether it replays a CUDA graph (None: not on a GPU)."""
        return partial(self.outputs, batch), None

    def stopwatch(self) -> Stopwatch:
        """What such calls are timed with."""
        return wall_clock()

    def peak_memory_mib(self) -> float:
        """Most memory held so far, MiB: resident memory of this process, or on the GPU."""
        return resident_peak_mib()


class Runtime(ABC):
    """One entry of `config.registry.RUNTIMES`: a runtime in one way of running it.

    Attributes:
        name: key in the registry and in results.
        product: the runtime as a reader knows it, without a version.
        distributions: names of the packages on PyPI that hold it, one or the other of which is installed.
        manner: how it runs the file, where not as users run it (`optimisations off`).
        purpose: "deployment": users run files so; "diagnosis": its codes are compared on a sample; "experiment": only
            experiments that explain a difference use it.
        on_gpu: timed on an NVIDIA GPU, against a float network in FP16.
    """

    name: str
    product: str
    distributions: tuple[str, ...]
    manner: str = ""
    purpose: Literal["deployment", "diagnosis", "experiment"] = "deployment"
    on_gpu: bool = False

    @property
    def title(self) -> str:
        """As a reader knows it, without a version."""
        return self.titled("")

    def titled(self, version: str) -> str:
        """`ONNX Runtime 1.32.0, optimisations off`"""
        return ", ".join(filter(None, (f"{self.product} {version}".strip(), self.manner)))

    @abstractmethod
    def open(self, path: Path, threads: int = 0) -> Session:
        """Load a file; threads 0: all cores.

        Raises:
            BackendMissing: where the runtime is not installed, or this machine lacks what it needs.
            BackendError: where it does not take the file.
        """

    def open_build(self, path: Path, threads: int, container: str | None) -> Session:
        """Load the deployed file of a finished build as `genq_export.load` does.

        Args:
            path: `model.onnx` in the build folder.
            threads: 0: all cores.
            container: the 8-bit type that the file holds activations in, where the build says it.

        Raises:
            BackendError: as `open`.
            UserError: where a further file of the build that this runtime needs is missing or of another model.
        """
        return self.open(path, threads)

    def preferred(self, folder: Path) -> bool:
        """Does the build folder hold a file made for this runtime alone, and can this machine run it?"""
        return False

    def reads(self, rule: TargetRule) -> bool:
        """Can it compute files of this form at all?"""
        return True


def resident_peak_mib() -> float:
    """Peak resident memory of this program, MiB."""
    # getrusage would also count what the parent held at the moment it forked; VmHWM starts anew with the program.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return peak_memory_mib() or 0.0
