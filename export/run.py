"""The work of the export stage: reference -> integer model -> ONNX in the form of the target, loaded and audited."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from export.audit.layer import LayerAudit
from export.check.write import write_check
from export.companions import write_companions
from export.fold import fold
from export.from_pixels import output_grids
from export.other_sizes import compared_at_other_sizes
from export.readme import build_readme
from export.summary import ExportSummary, Widths, classes_digest
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.models.description import write_description
from genq_export.models.loaded import LoadedModel
from genq_export.models.preprocessing import in_words
from genq_export.network.files import load_reference, save_integer_model
from genq_export.network.float_weight import kept_layers
from genq_export.network.free_size import free_size_of
from genq_export.network.onnx_graph import read_model
from genq_export.targets import target
from genq_export.targets.base import Compiled

ONNX_FILE = "model.onnx"


def run(
    workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress, images: Sequence[Path] = ()
) -> StageResult:
    """Fold the reference, write `model.safetensors`, `model.onnx`, an engine where one can be built, and the README.

    Args:
        workspace: of the build.
        config: of the build.
        model: names, classes and preprocessing.
        progress: told what happens.
        images: of the calibration set; the check that travels with the file takes a few. None of them: no check.

    Raises:
        UserError: where the target's runtime refuses the file.
    """
    progress.say(f"export: integer ONNX for {config.target}")
    made_for = target(config.target)
    path = workspace.path(ONNX_FILE)
    integer_model = fold(load_reference(workspace.folder))
    outputs = [*save_integer_model(integer_model, workspace.folder), ONNX_FILE]
    settings = config.export
    free_size = free_size_of(workspace, "quantize")
    facts = made_for.emit(integer_model, model.input_size, settings, path, free_size)
    facts["taken_by"] = made_for.taken_by(path)
    output_codes = config.quantize.output_codes
    beside = write_companions(workspace, model, settings, output_codes)
    codes = output_grids(read_model(path)) if output_codes else {}
    other_sizes = () if free_size is None else compared_at_other_sizes(path, integer_model, free_size, model, images)
    audit = made_for.audit(path)
    if not audit:
        raise UserError("the exported file has no convolution or linear layer")
    storage = Widths(
        grid=config.quantize.grid_name,
        weights=facts["weight_storage"],
        activations=made_for.rule.activation_container,
        compute="int8 products, int32 sums",
    )
    compiled = made_for.compile(workspace, model.input_size, settings, storage.model_dump(), progress)
    how_to_run = made_for.run_instructions(model.input_size, settings, compiled)
    readme = build_readme(config, model, facts | {"beside": beside, "codes": codes}, how_to_run, free_size)
    workspace.write_bytes("README.md", readme.encode())
    outputs += [
        *beside,
        *(compiled.files if compiled is not None else ()),
        "README.md",
        write_description(workspace, model),
    ]
    if images:
        outputs += write_check(workspace, config, model, integer_model, list(images))
    else:
        progress.say("  no check folder: there are no calibration images to make it of")
    kept = (*config.quantize.keep_float, *kept_layers(integer_model).values())
    summary = _summary(
        config, facts, beside, storage, audit, kept, compiled, in_words(model), classes_digest(model.class_names)
    )
    summary = summary.model_copy(update={"free_size": free_size, "other_sizes": other_sizes})
    return StageResult(outputs, summary.model_dump(mode="json"))


def _judged(layer: LayerAudit, keep_float: Sequence[str]) -> LayerAudit:
    """The layer, marked where it computes in float because the config, or what it asked for, keeps it so."""
    fits = any(layer.name == pattern or fnmatchcase(layer.name, pattern) for pattern in keep_float)
    on_purpose = not layer.integer and fits
    return replace(layer, on_purpose=True, detail=f"kept in float as asked; {layer.detail}") if on_purpose else layer


def _summary(
    config: BuildConfig,
    facts: dict[str, Any],
    beside: dict[str, int],
    storage: Widths,
    audit: list[LayerAudit],
    kept: Sequence[str],
    compiled: Compiled | None,
    preprocessing: str,
    classes: str | None,
) -> ExportSummary:
    files = {ONNX_FILE: facts["bytes"], **beside}
    if compiled is not None:
        files[compiled.files[0]] = compiled.facts["bytes"]
    return ExportSummary(
        audit=tuple(_judged(layer, kept) for layer in audit),
        engine=compiled.facts if compiled is not None else None,
        opset=facts["opset"],
        ir_version=facts["ir_version"],
        taken_by=facts["taken_by"],
        quantize_linear=facts["quantize_linear"],
        dequantize_linear=facts["dequantize_linear"],
        files=files,
        storage=storage,
        preprocessing=preprocessing,
        classes=classes,
    )
