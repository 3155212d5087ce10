"""The export stage: reference -> integer model -> ONNX in the target's form, loaded and audited before it counts."""

from fnmatch import fnmatchcase
from typing import Any

from export.audit.onnxruntime import LayerAudit, audit_onnxruntime
from export.audit.tensorrt import audit_tensorrt
from export.engine import TIMING_CACHE, build_engine, save_engine
from export.fold import fold
from export.onnx_qdq import export_onnx
from export.readme import build_readme
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.files import load_reference, save_integer_model
from genq_export.runtimes.engine_file import ENGINE_FILE, FACTS_FILE
from genq_export.runtimes.tensorrt_packages import engine_builder
from genq_export.targets.rule import TargetRule, rule_for

ONNX_FILE = "model.onnx"


def run(workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress) -> StageResult:
    """Fold the reference, write `model.safetensors`, `model.onnx`, an engine where one can be built, and the README.

    Raises UserError where the target's runtime refuses the file.
    """
    progress.say(f"export: integer ONNX for {config.target}")
    rule = rule_for(config.target)
    path = workspace.path(ONNX_FILE)
    integer_model = fold(load_reference(workspace.folder))
    outputs = [*save_integer_model(integer_model, workspace.folder), ONNX_FILE]
    settings = config.export
    facts = export_onnx(integer_model, model.input_size, rule, path, settings.int4_storage, settings.half_remainder)
    audit = audit_onnxruntime(path) if config.target == "onnxruntime" else audit_tensorrt(path)
    if not audit:
        raise UserError("the exported file has no convolution or linear layer")
    storage = _storage(config, rule, facts)
    engine = _engine(workspace, config, model, storage, progress) if config.target == "tensorrt" else None
    if engine is not None:
        outputs += [ENGINE_FILE, FACTS_FILE]
    workspace.write_bytes("README.md", build_readme(config, model, facts, engine).encode())
    return StageResult([*outputs, "README.md"], _summary(config, facts, storage, audit, engine))


def _on_purpose(layer: LayerAudit, keep_float: tuple[str, ...]) -> dict[str, Any]:
    """What the audit adds to a layer that the config keeps in float: it does not count against the file."""
    if layer.integer or not any(fnmatchcase(layer.name, pattern) for pattern in keep_float):
        return {}
    return {"on_purpose": True, "detail": f"kept in float as asked; {layer.detail}"}


def _engine(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, storage: dict[str, str], progress: Progress
) -> dict[str, Any] | None:
    """Build an engine with whatever module is installed; returns its facts, None where there is no module."""
    builder = engine_builder()
    if builder is None:
        remedy = "pip install 'genq-export[tensorrt-rtx]' builds one anywhere"
        progress.say(f"export: no TensorRT here, so no engine; {remedy}")
        return None
    cache = workspace.path(TIMING_CACHE)
    timings = cache.read_bytes() if cache.is_file() else b""
    engine = build_engine(workspace.path(ONNX_FILE), model.input_size, builder, config.export, timings)
    save_engine(engine, workspace.folder)
    facts = {**engine.facts, **storage}
    workspace.write_json(FACTS_FILE, facts)
    return facts


def _storage(config: BuildConfig, rule: TargetRule, facts: dict[str, Any]) -> dict[str, str]:
    """Grid, storage and compute: three different widths."""
    return {
        "grid": config.quantize.grid_name,
        "weights": facts["weight_storage"],
        "activations": rule.activation_container,
        "compute": "int8 products, int32 sums",
    }


def _summary(
    config: BuildConfig,
    facts: dict[str, Any],
    storage: dict[str, str],
    audit: list[LayerAudit],
    engine: dict[str, Any] | None,
) -> dict[str, Any]:
    files = {ONNX_FILE: facts["bytes"]}
    if engine is not None:
        files[ENGINE_FILE] = engine["bytes"]
    return {
        "audit": [layer.row() | _on_purpose(layer, config.quantize.keep_float) for layer in audit],
        "engine": engine,
        "opset": facts["opset"],
        "ir_version": facts["ir_version"],
        "quantize_linear": facts["quantize_linear"],
        "dequantize_linear": facts["dequantize_linear"],
        "files": files,
        "storage": storage,
    }
