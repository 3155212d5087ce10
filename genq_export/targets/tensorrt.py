"""TensorRT and TensorRT-RTX on NVIDIA GPUs: a strongly typed network, and an engine where one can be built."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.export import ExportConfig
from genq_export.config.target import EXPORTED_OPSET, TargetRule
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.runtimes.tensorrt_packages import engine_builder
from genq_export.targets.base import Compiled, InputSize, Target

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit
    from genq_export.network.free_size import FreeSize
    from genq_export.network.interpreter import GraphNetwork


class TensorRtTarget(Target):
    """INT8 containers without zero-points, weights in INT8, biases in float.

    Where it cannot run, ONNX Runtime without optimisations stands in and computes the file as it is written: the
    default session would rewrite it for the CPU (rounding the float bias, for one) and answer for another file.
    """

    name = "tensorrt"
    title = "TensorRT"
    default_runtime = "tensorrt"
    stand_in = "onnxruntime-unfused"
    rule = TargetRule(
        name="tensorrt",
        zero_points="shifted",
        activation_container="int8",
        max_unsigned_bits=7,
        linear_operator="Gemm",
        bias_on_grid=False,
        convolutions_write_codes=False,
        int4_storage=False,
        half_remainder=True,
        opset=21,
        ir_version=10,
        lowest_opset=True,
    )

    def emit(
        self,
        integer_model: "GraphNetwork",
        input_size: InputSize,
        settings: ExportConfig,
        path: Path,
        free_size: "FreeSize | None" = None,
    ) -> dict[str, Any]:
        """QDQ ONNX in which every zero-point is 0."""
        from export.onnx_qdq import export_onnx

        rule = self.rule
        if settings.tensorrt == 10:
            rule = rule.model_copy(update={"opset": EXPORTED_OPSET, "lowest_opset": True})
        return export_onnx(integer_model, input_size, rule, path, settings.int4_storage, settings.half_remainder)

    def audit(self, path: Path) -> "list[LayerAudit]":
        """By the parser's and the builder's rules, without building anything."""
        from export.audit.tensorrt import audit_tensorrt

        return audit_tensorrt(path)

    def compile(
        self,
        workspace: Workspace,
        input_size: InputSize,
        settings: ExportConfig,
        storage: dict[str, str],
        progress: Progress,
    ) -> Compiled | None:
        """`model.engine` and `engine.json`, built by whichever of the two packages is installed."""
        from export.engine import TIMING_CACHE, build_engine, save_engine
        from genq_export.runtimes.engine_file import ENGINE_FILE, FACTS_FILE

        builder = engine_builder()
        if builder == "tensorrt_rtx" and settings.tensorrt is not None:
            progress.say(f"export: no engine: TensorRT-RTX's does not run in TensorRT {settings.tensorrt}")
            return None
        if builder is None:
            remedy = "pip install 'genq-export[tensorrt-rtx]' builds one anywhere"
            progress.say(f"export: no TensorRT here, so no engine; {remedy}")
            return None
        cache = workspace.path(TIMING_CACHE)
        timings = cache.read_bytes() if cache.is_file() else b""
        engine = build_engine(workspace.path("model.onnx"), input_size, builder, settings, timings)
        save_engine(engine, workspace.folder)
        facts = {**engine.facts, **storage}
        workspace.write_json(FACTS_FILE, facts)
        return Compiled((ENGINE_FILE, FACTS_FILE), facts)

    def run_instructions(self, input_size: InputSize, settings: ExportConfig, compiled: Compiled | None) -> str:
        """The engine, where there is one, and how to build another where the GPU is."""
        shapes = ["x".join(map(str, ("input:" + str(batch), *input_size))) for batch in settings.engine_batches]
        built = ""
        if compiled is not None:
            facts = compiled.facts
            gpus = ", ".join(facts["compute_capabilities"])
            built = (
                f"`model.engine` was built by {facts['builder']} {facts['version']} for {gpus}{_runs_on(facts)}"
                " (details in `engine.json`).\n\n"
            )
        return f"""\
{built}`genq_export.load` on this folder runs the engine where it fits the GPU and says why where it does not.
Build an engine where the GPU is ({f"TensorRT {settings.tensorrt}" if settings.tensorrt else "TensorRT 10 or newer"}; \
precision is in the file, no flags choose it):

```sh
trtexec --onnx=model.onnx --stronglyTyped --saveEngine=model.engine \\
  --minShapes={shapes[0]} --optShapes={shapes[1]} --maxShapes={shapes[2]}
```
"""

    def problems(self, settings: ExportConfig) -> list[str]:
        """What TensorRT-RTX, where it is what is installed, does not build."""
        found, builder = super().problems(settings), engine_builder()
        if builder == "tensorrt_rtx" and settings.tensorrt is None:
            found += _rtx_problems(settings)
        if builder == "tensorrt" and settings.tensorrt is not None:
            here = str(importlib.import_module(builder).__version__)
            if here.split(".")[0] != str(settings.tensorrt):
                found.append(
                    f"export.tensorrt: {settings.tensorrt} was asked for, and TensorRT {here} is installed here"
                )
        return found

    def notes(self) -> list[str]:
        """There may be nothing here that builds an engine."""
        if engine_builder() is not None:
            return []
        return [
            "TensorRT is not installed here: the build ends with the ONNX file and the trtexec command for it;"
            " pip install 'genq-export[tensorrt-rtx]' builds an engine on any machine"
        ]

    def on_this_machine(self) -> tuple[str, str]:
        """With an engine, or without."""
        builder = engine_builder()
        if builder is None:
            return "ONNX only", "for engines: pip install 'genq-export[tensorrt-rtx]'"
        return "ONNX and engine", f"engines by {builder}"


def _runs_on(facts: dict[str, Any]) -> str:
    """`, and runs on 11.0.1 to 11.*`; empty for an engine of an earlier release of this package."""
    versions = facts.get("runs_on")
    if not versions:
        return ""
    one = versions["oldest"] == versions["newest"]
    return f", and runs on {versions['oldest']}{' alone' if one else ' to ' + versions['newest']}"


def _rtx_problems(settings: ExportConfig) -> list[str]:
    """TensorRT-RTX 1.7 warns and ignores the one compatibility, and cannot build with the other."""
    found = []
    if settings.hardware_compatible:
        found.append(
            "export.hardware_compatible: TensorRT-RTX has no such engines: leave it out and name every GPU in"
            " export.compute_capabilities, or install tensorrt instead of tensorrt-rtx"
        )
    if settings.version_compatible:
        found.append(
            "export.version_compatible: an engine of TensorRT-RTX runs on the version that built it alone: leave it"
            " out and build again after an update, or install tensorrt instead of tensorrt-rtx"
        )
    known = [name for name in dir(importlib.import_module("tensorrt_rtx").ComputeCapability) if name[:2] == "SM"]
    found += [
        f"export.compute_capabilities: --target tensorrt: TensorRT-RTX builds no engine for {name}, only for"
        f" {', '.join(sorted(known))}"
        for name in settings.compute_capabilities
        if name not in known
    ]
    return found


TENSORRT = TensorRtTarget()
