"""What a target is: everything that depends on where the file will run, from the first quantizer to the model card."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.export import ExportConfig
from genq_export.config.target import TargetRule
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit
    from genq_export.network.free_size import FreeSize
    from genq_export.network.interpreter import GraphNetwork

InputSize = tuple[int, int, int]
# The fake-quant reference and the integer oracle compute in this process, whatever the target.
_ALWAYS = ("reference", "oracle")


@dataclass(frozen=True)
class Compiled:
    """What a target's compiler made of the ONNX file.

    files: names in the build folder, the one that runs first, then the JSON file that holds `facts`.
    facts: at least `builder`, `version` and `bytes` (of the first file).
    """

    files: tuple[str, ...]
    facts: dict[str, Any]


class Target(ABC):
    """One object a target, in a file of its own, registered by name in `config.registry.TARGETS`.

    Attributes:
        name: as the user gives it and as folders are called.
        title: as a reader knows it.
        rule: what its runtime can hold.
        default_runtime: name of the runtime (`config.registry.RUNTIMES`) that runs the file as users do. It stands for
            the deployed file in the verdict, and its speed is the file's.
        takes_free_sizes: can its file take images of sizes that it was not calibrated on?
        stand_in: name of a runtime that computes the file as it is written, for machines without `default_runtime`;
            None: nothing can.
    """

    name: str
    title: str
    rule: TargetRule
    default_runtime: str
    takes_free_sizes: bool = False
    stand_in: str | None = None

    @abstractmethod
    def emit(
        self,
        integer_model: "GraphNetwork",
        input_size: InputSize,
        settings: ExportConfig,
        path: Path,
        free_size: "FreeSize | None" = None,
    ) -> dict[str, Any]:
        """Write the ONNX file; free_size: in which sizes it takes images, where `takes_free_sizes`.

        Returns:
            Facts of it, as `export.onnx_qdq.export_onnx` gives them.

        Raises:
            UserError: naming an operator or a tensor that the target cannot hold.
        """

    @abstractmethod
    def audit(self, path: Path) -> "list[LayerAudit]":
        """Which layers of an ONNX file run in integers on this target, and why the others do not.

        Raises:
            UserError: where the target does not take the file.
        """

    def remarks(self, path: Path) -> list[str]:
        """What to know of an ONNX file beside its layers, a sentence each."""
        return []

    @abstractmethod
    def run_instructions(self, input_size: InputSize, settings: ExportConfig, compiled: Compiled | None) -> str:
        """How to run the files of a build, in Markdown, for its README."""

    def taken_by(self, path: Path) -> str | None:
        """Which versions of its runtime take an emitted file, in words, as read from the file; None: not known."""
        return None

    def compile(
        self,
        workspace: Workspace,
        input_size: InputSize,
        settings: ExportConfig,
        storage: dict[str, str],
        progress: Progress,
    ) -> Compiled | None:
        """Write what the target's own compiler makes of the ONNX file, with `storage` beside its facts.

        Returns:
            None where the target has no compiler, or none is installed.
        """
        return None

    def problems(self, settings: ExportConfig) -> list[str]:
        """Settings that this target cannot follow on this machine: a sentence each, said before anything starts."""
        found = []
        if settings.half_remainder and not self.rule.half_remainder:
            found.append(f"export.half_remainder: --target {self.name} computes its remainder in float32 only")
        if settings.minimum_runtime is not None and not self.rule.older_releases:
            found.append(
                "export.minimum_runtime is a release of ONNX Runtime: leave it out or give --target onnxruntime"
            )
        if settings.input != "float32" and self.default_runtime != "onnxruntime":
            found.append("--input uint8 is for ONNX Runtime: leave it out or give --target onnxruntime")
        if settings.ort_file and self.default_runtime != "onnxruntime":
            found.append("export.ort_file is for ONNX Runtime: leave it out or give --target onnxruntime")
        if settings.tensorrt is not None and self.default_runtime != "tensorrt":
            found.append("export.tensorrt: leave it out or give --target tensorrt, which alone builds engines")
        return found

    def notes(self) -> list[str]:
        """What a build for this target goes without on this machine, said before it starts."""
        return []

    def on_this_machine(self) -> tuple[str, str]:
        """What works here, in a word or two, and a remark."""
        return "works", ""

    def deployed(self, opened: Collection[str]) -> str:
        """Which of the runtimes that could be opened stands for the deployed file."""
        if self.stand_in is None or self.default_runtime in opened:
            return self.default_runtime
        return self.stand_in

    @property
    def needed_for_verdict(self) -> frozenset[str]:
        """What runs in every verification: no build passes on codes that nobody compared."""
        return frozenset(filter(None, (*_ALWAYS, self.default_runtime, self.stand_in)))
