"""`genq-export audit FILE`: any QDQ ONNX file, ours or not, for one target, or a TensorRT engine."""

from collections.abc import Callable
from pathlib import Path

from export.audit.engine_plan import audit_inspector, audit_plan
from export.audit.layer import LayerAudit
from genq_export.core.errors import UserError
from genq_export.runtimes.tensorrt_packages import engine_builder

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


def audit_file(path: Path, audit_onnx: Callable[[Path], list[LayerAudit]]) -> list[LayerAudit]:
    """One row a layer: integer or float, and why. Engines are told by their suffix.

    audit_onnx: the target's auditor of ONNX files. Raises UserError where the file is neither ONNX nor an engine whose
    layers can be read here.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file")
    if path.suffix in ENGINE_SUFFIXES:
        return _audit_engine(path)
    return audit_onnx(path)


def _audit_engine(path: Path) -> list[LayerAudit]:
    plan = path.read_bytes()
    rows = audit_plan(plan)
    if rows:
        return rows
    builder = engine_builder()
    if builder is not None and _has_gpu():
        import importlib

        trt = importlib.import_module(builder)
        rows = audit_inspector(trt, trt.Logger(trt.Logger.ERROR), plan)
    if not rows:
        raise UserError(
            f"{path} has no layers that can be read here: plans of TensorRT-RTX are read anywhere, engines of TensorRT"
            " on the GPU and with the version they were built for"
        )
    return rows


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
