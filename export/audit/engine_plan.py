"""Which layers of an engine are int8: from the text of a TensorRT-RTX plan, or from TensorRT's inspector on a GPU."""

import json
import re
from collections.abc import Iterator
from typing import Any

from export.audit.layer import LayerAudit
from export.audit.plan_text import calls, products, tensor_types

_MATMUL = re.compile(r"matmul(?:_\d+)?$")
_PRODUCTS = ("conv", "gemm", "matmul", "matrixmultiply", "fully")


def audit_plan(plan: bytes) -> list[LayerAudit]:
    """Convolutions and matrix products of a TensorRT-RTX plan, with the types of the two tensors they multiply.

    A plan is readable text in an undocumented format (seen in 1.7.1): best effort, empty where nothing is recognised.
    """
    text = plan.decode("latin-1")
    types = tensor_types(text)
    rows = []
    for product in products(text):
        pair = [types.get(tensor, "?") for tensor in product.inputs[:2]]
        rows.append(LayerAudit(product.name, product.kind, pair == ["int8", "int8"], " x ".join(pair)))
    return [*rows, *_fused_attention(text, types)]


def _fused_attention(text: str, types: dict[str, str]) -> Iterator[LayerAudit]:
    """Attention that became one kernel: its two products read queries, keys and values."""
    for call in calls(text, "_gemm_mha", "input_args"):
        kinds = [kind for name in call.arguments if (kind := types.get(name, "?")) != "int64"]
        for product in [layer for layer in call.layers if _MATMUL.search(layer)] or ["attention"]:
            yield LayerAudit(product, "fused attention", set(kinds) == {"int8"}, " x ".join(kinds))


def quantizing_kernels(plan: bytes) -> list[list[str]]:
    """Names of the ONNX nodes that each fused pointwise kernel of a TensorRT-RTX plan computes, where it gives int8.

    They show where a residual addition or a shift went. Convolutions and products are not among them (`audit_plan`).
    """
    text = plan.decode("latin-1")
    types = tensor_types(text)
    found = calls(text, "__myl_", "output_args")
    return [list(call.layers) for call in found if {types.get(name) for name in call.arguments} == {"int8"}]


def audit_inspector(trt: Any, logger: Any, plan: bytes) -> list[LayerAudit]:
    """Convolutions and products of an engine by TensorRT's own inspector; empty where the engine does not load here."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        return []
    inspector = engine.create_engine_inspector()
    return rows_of_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def rows_of_inspector(information: str) -> list[LayerAudit]:
    """Read the inspector's JSON (detailed verbosity): a product is int8 where the activation it reads is."""
    rows = []
    for layer in json.loads(information).get("Layers", []):
        if not isinstance(layer, dict) or not _is_product(layer):
            continue
        kinds = [str(part.get("Format/Datatype", part.get("Format", "?"))) for part in layer.get("Inputs", [])]
        integer = bool(kinds) and "int8" in kinds[0].lower()
        rows.append(LayerAudit(str(layer.get("Name", "?")), str(layer["LayerType"]), integer, " x ".join(kinds)))
    return rows


def _is_product(layer: dict[str, Any]) -> bool:
    what = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()
    return any(word in what for word in _PRODUCTS)
