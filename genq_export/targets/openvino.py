"""OpenVINO on the CPU: what its low-precision transformations keep in integers, and add as they add it."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.export import ExportConfig
from genq_export.config.target import TargetRule
from genq_export.targets.base import Compiled, InputSize, Target

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit
    from genq_export.network.free_size import FreeSize
    from genq_export.network.interpreter import GraphNetwork

_INSTALL = "pip install 'genq-export[openvino]'"


class OpenVinoTarget(Target):
    """Signed grids in INT8 and others in UINT8: a product of two tensors with zero-points would stay in float."""

    name = "openvino"
    title = "OpenVINO"
    default_runtime = "openvino"
    rule = TargetRule(
        name="openvino",
        zero_points="native",
        activation_container="int8 or uint8",
        max_unsigned_bits=8,
        linear_operator="MatMul",
        bias_on_grid=False,
        convolutions_write_codes=False,
        sums_in_float=True,
        quantizers_multiply=True,
        int4_storage=True,
        half_remainder=False,
        opset=21,
        ir_version=10,
    )

    def emit(
        self,
        integer_model: "GraphNetwork",
        input_size: InputSize,
        settings: ExportConfig,
        path: Path,
        free_size: "FreeSize | None" = None,
    ) -> dict[str, Any]:
        """QDQ ONNX that OpenVINO's low-precision transformations keep."""
        from export.onnx_qdq import export_onnx

        return export_onnx(integer_model, input_size, self.rule, path, settings.int4_storage)

    def audit(self, path: Path) -> "list[LayerAudit]":
        """Read from the model as OpenVINO compiles it here."""
        from export.audit.openvino import audit_openvino

        return audit_openvino(path)

    def run_instructions(self, input_size: InputSize, settings: ExportConfig, compiled: Compiled | None) -> str:
        """Five lines of Python."""
        return f"""\
```python
import numpy as np, openvino, pathlib
core, cpu, settings = openvino.Core(), pathlib.Path("/proc/cpuinfo"), {{"INFERENCE_PRECISION_HINT": "f32"}}
if cpu.is_file() and "vnni" not in cpu.read_text(): settings |= {{"LP_TRANSFORMS_MODE": "NO", "EXECUTION_MODE_HINT": "ACCURACY"}}
model = core.read_model("model.onnx")
model.reshape({[1, *input_size]})  # the number of images of every call
network = core.compile_model(model, "CPU", settings)
print([part.shape for part in network(np.zeros({(1, *input_size)}, np.float32)).values()])  # your images
```

The two settings keep 8-bit sums exact on CPUs without VNNI, where they saturate otherwise; layers compute in float then.
With weights of 7 bits or fewer leave them out.
"""  # noqa: E501

    def problems(self, settings: ExportConfig) -> list[str]:
        """The file is audited, and verified, by OpenVINO itself."""
        found = super().problems(settings)
        return found if find_spec("openvino") else [*found, f"--target openvino: OpenVINO is not installed: {_INSTALL}"]

    def on_this_machine(self) -> tuple[str, str]:
        """It is an extra of this package."""
        if find_spec("openvino") is None:
            return "not installed", _INSTALL
        return "works", "integer kernels on the CPU"


OPENVINO = OpenVinoTarget()
