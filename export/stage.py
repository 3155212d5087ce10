"""The export stage: reference -> integer model -> ONNX in the target's form, loaded and audited before it counts."""

from genq_export.config import BuildConfig
from genq_export.errors import UserError
from genq_export.models import LoadedModel
from genq_export.progress import Progress
from genq_export.quantize.reference import load_reference
from genq_export.targets import rule_for
from genq_export.workspace import StageResult, Workspace
from export.audit import audit_onnxruntime
from export.fold import fold, save_integer_model
from export.qdq import export_onnx
from export.readme import build_readme

ONNX_FILE = "model.onnx"


def run(workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress) -> StageResult:
    """Fold the reference, write `model.safetensors`, `model.onnx` and the build's README, and audit the ONNX file.

    Raises UserError where the file does not load in ONNX Runtime.
    """
    progress.say(f"export: integer ONNX for {config.target}")
    rule = rule_for(config.target)
    integer_model = fold(load_reference(workspace.folder))
    outputs = save_integer_model(integer_model, workspace.folder)
    facts = export_onnx(integer_model, model.input_size, rule, workspace.path(ONNX_FILE), config.export.int4_storage)
    audit = [layer.row() for layer in audit_onnxruntime(workspace.path(ONNX_FILE))]
    workspace.write_bytes("README.md", build_readme(config, model, facts).encode())
    summary = {
        "audit": audit,
        "opset": facts["opset"],
        "ir_version": facts["ir_version"],
        "quantize_linear": facts["quantize_linear"],
        "dequantize_linear": facts["dequantize_linear"],
        "files": {ONNX_FILE: facts["bytes"]},
        "storage": {
            "grid": f"W{config.quantize.weight_bits}A{config.quantize.activation_bits}",
            "weights": facts["weight_storage"],
            "activations": rule.activation_container,
            "compute": "int8 products, int32 sums",
        },
    }
    if not audit:
        raise UserError("the exported file has no convolution or linear layer")
    return StageResult([*outputs, ONNX_FILE, "README.md"], summary)
