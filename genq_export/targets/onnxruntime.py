"""ONNX Runtime on the CPU: integer kernels fused from UINT8 activations, INT8 weights and INT32 biases."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.export import ExportConfig
from genq_export.config.releases import minor, release_of
from genq_export.config.target import EXPORTED_OPSET, TargetRule
from genq_export.targets.base import Compiled, InputSize, Target

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit
    from genq_export.network.free_size import FreeSize
    from genq_export.network.interpreter import GraphNetwork


class OnnxRuntimeTarget(Target):
    """Weights of 4 bits or fewer are stored in 4 bits; the runtime unpacks them when it loads the file."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    default_runtime = "onnxruntime"
    takes_free_sizes = True
    rule = TargetRule(
        name="onnxruntime",
        zero_points="native",
        activation_container="uint8",
        max_unsigned_bits=8,
        linear_operator="MatMul",
        bias_on_grid=True,
        convolutions_write_codes=True,
        codes_are_moved=True,
        pools_codes=True,
        int4_storage=True,
        half_remainder=False,
        opset=21,
        ir_version=10,
        older_releases=True,
    )

    def emit(
        self,
        integer_model: "GraphNetwork",
        input_size: InputSize,
        settings: ExportConfig,
        path: Path,
        free_size: "FreeSize | None" = None,
    ) -> dict[str, Any]:
        """QDQ ONNX that ONNX Runtime fuses."""
        from export.onnx_qdq import export_onnx

        rule = self._written_for(settings)
        return export_onnx(integer_model, input_size, rule, path, settings.int4_storage, free_size=free_size)

    def _written_for(self, settings: ExportConfig) -> TargetRule:
        """The rule in the form that the oldest runtime takes that is asked for."""
        if settings.minimum_runtime is None:
            return self.rule
        release = release_of(settings.minimum_runtime)
        changes: dict[str, Any] = {
            "int4_storage": release.four_bit_casts, "weight_zero_points": not release.implicit_zero_points,
        }  # fmt: skip
        if release.opset < self.rule.opset or not release.products:
            changes |= {"opset": EXPORTED_OPSET, "lowest_opset": True}
        return self.rule.model_copy(update=changes)

    def problems(self, settings: ExportConfig) -> list[str]:
        """A release that is newer than what would have to verify the file."""
        found, wanted, here = super().problems(settings), settings.minimum_runtime, version("onnxruntime")
        if wanted is not None and minor(wanted) > minor(here):
            found.append(f"export.minimum_runtime: {wanted} is newer than the ONNX Runtime here: give {here} at most")
        return found

    def audit(self, path: Path) -> "list[LayerAudit]":
        """Read from the graph that a default session says it will run."""
        from export.audit.onnxruntime import audit_onnxruntime

        return audit_onnxruntime(path)

    def remarks(self, path: Path) -> list[str]:
        """Weights that ARM64's kernels multiply wrong."""
        from export.audit.graph import read_onnx
        from export.audit.least_code import note_of_least_codes

        return list(filter(None, [note_of_least_codes(read_onnx(path))]))

    def taken_by(self, path: Path) -> str | None:
        """`ONNX Runtime 1.18 or newer`"""
        from export.audit.releases import taken_by

        release = taken_by(path)
        return f"{self.title} {release.version} or newer" if release is not None else None

    def run_instructions(self, input_size: InputSize, settings: ExportConfig, compiled: Compiled | None) -> str:
        """Five lines of Python."""
        return f"""\
```python
import numpy as np, onnxruntime, pathlib
options, cpu = onnxruntime.SessionOptions(), pathlib.Path("/proc/cpuinfo")
if not cpu.is_file() or "vnni" not in cpu.read_text(): options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession("model.onnx", options)
print([part.shape for part in session.run(None, {{"input": np.zeros({(1, *input_size)}, np.float32)}})])  # your images
```

The option keeps 8-bit sums exact on x86 CPUs without VNNI instructions, where they saturate otherwise. With VNNI they
are exact, and it would cost half the speed of 8-bit weights.
"""  # noqa: E501

    def on_this_machine(self) -> tuple[str, str]:
        """It is a requirement of this package."""
        return "works", "integer kernels on the CPU"


ONNXRUNTIME = OnnxRuntimeTarget()
