"""ONNX Runtime on the CPU: integer kernels fused from UINT8 activations, INT8 weights and INT32 biases."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.export import ExportConfig
from genq_export.config.target import TargetRule
from genq_export.targets.base import Compiled, InputSize, Target

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit
    from genq_export.network.interpreter import GraphNetwork


class OnnxRuntimeTarget(Target):
    """Weights of 4 bits or fewer are stored in 4 bits; the runtime unpacks them when it loads the file."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    default_runtime = "onnxruntime"
    rule = TargetRule(
        name="onnxruntime",
        zero_points="native",
        activation_container="uint8",
        max_unsigned_bits=8,
        linear_operator="MatMul",
        bias_on_grid=True,
        convolutions_write_codes=True,
        codes_are_moved=True,
        int4_storage=True,
        half_remainder=False,
        opset=21,
        ir_version=10,
    )

    def emit(
        self, integer_model: "GraphNetwork", input_size: InputSize, settings: ExportConfig, path: Path
    ) -> dict[str, Any]:
        """QDQ ONNX that ONNX Runtime fuses."""
        from export.onnx_qdq import export_onnx

        return export_onnx(integer_model, input_size, self.rule, path, settings.int4_storage)

    def audit(self, path: Path) -> "list[LayerAudit]":
        """Read from the graph that a default session says it will run."""
        from export.audit.onnxruntime import audit_onnxruntime

        return audit_onnxruntime(path)

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
