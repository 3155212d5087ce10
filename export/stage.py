"""The export stage: reference -> integer model -> ONNX in the target's form, loaded and audited before it counts."""

from fnmatch import fnmatchcase
from typing import Any

from export.audit.layer import LayerAudit
from export.fold import fold
from export.readme import build_readme
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.files import load_reference, save_integer_model
from genq_export.targets import target
from genq_export.targets.base import Compiled, Target

ONNX_FILE = "model.onnx"


def run(workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress) -> StageResult:
    """Fold the reference, write `model.safetensors`, `model.onnx`, an engine where one can be built, and the README.

    Raises UserError where the target's runtime refuses the file.
    """
    progress.say(f"export: integer ONNX for {config.target}")
    made_for = target(config.target)
    path = workspace.path(ONNX_FILE)
    integer_model = fold(load_reference(workspace.folder))
    outputs = [*save_integer_model(integer_model, workspace.folder), ONNX_FILE]
    settings = config.export
    facts = made_for.emit(integer_model, model.input_size, settings, path)
    audit = made_for.audit(path)
    if not audit:
        raise UserError("the exported file has no convolution or linear layer")
    storage = _storage(config, made_for, facts)
    compiled = made_for.compile(workspace, model.input_size, settings, storage, progress)
    how_to_run = made_for.run_instructions(model.input_size, settings, compiled)
    workspace.write_bytes("README.md", build_readme(config, model, facts, how_to_run).encode())
    outputs += [*(compiled.files if compiled is not None else ()), "README.md"]
    return StageResult(outputs, _summary(config, facts, storage, audit, compiled))


def _on_purpose(layer: LayerAudit, keep_float: tuple[str, ...]) -> dict[str, Any]:
    """What the audit adds to a layer that the config keeps in float: it does not count against the file."""
    if layer.integer or not any(fnmatchcase(layer.name, pattern) for pattern in keep_float):
        return {}
    return {"on_purpose": True, "detail": f"kept in float as asked; {layer.detail}"}


def _storage(config: BuildConfig, made_for: Target, facts: dict[str, Any]) -> dict[str, str]:
    """Grid, storage and compute: three different widths."""
    return {
        "grid": config.quantize.grid_name,
        "weights": facts["weight_storage"],
        "activations": made_for.rule.activation_container,
        "compute": "int8 products, int32 sums",
    }


def _summary(
    config: BuildConfig,
    facts: dict[str, Any],
    storage: dict[str, str],
    audit: list[LayerAudit],
    compiled: Compiled | None,
) -> dict[str, Any]:
    files = {ONNX_FILE: facts["bytes"]}
    if compiled is not None:
        files[compiled.files[0]] = compiled.facts["bytes"]
    return {
        "audit": [layer.row() | _on_purpose(layer, config.quantize.keep_float) for layer in audit],
        "engine": compiled.facts if compiled is not None else None,
        "opset": facts["opset"],
        "ir_version": facts["ir_version"],
        "quantize_linear": facts["quantize_linear"],
        "dequantize_linear": facts["dequantize_linear"],
        "files": files,
        "storage": storage,
    }
