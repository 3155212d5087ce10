"""Which layers OpenVINO computes in integers: read from the model as it compiles it.

OpenVINO fuses and renames; every node of the compiled model keeps the names of the file's nodes that it came from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.audit.graph import FLOAT_LAYERS, LAYERS, name_of, read_onnx
from export.audit.layer import LayerAudit
from genq_export.core.errors import BackendError, UserError
from genq_export.runtimes.openvino import compiled_nodes

_INTEGER = ("i8", "u8")
# What the transformations put behind the name of a layer that they take apart.
_ADDED = ("/WithoutBiases", "/DequantizationMultiply", "/DequantizationSubtract")


def audit_openvino(path: Path) -> list[LayerAudit]:
    """Every operator of a file that multiplies, as OpenVINO's CPU plugin runs it.

    Raises:
        UserError: OpenVINO is not installed, or refuses the file.
    """
    model = read_onnx(path)
    try:
        planned = _by_name(compiled_nodes(path))
    except BackendError as error:
        raise UserError(str(error)) from None
    layers = [node for node in model.graph if node.op_type in (*LAYERS, *FLOAT_LAYERS)]
    return [_audit(name_of(node), node.op_type, planned) for node in layers]


def _by_name(nodes: Sequence[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Compiled nodes by the names of the file's nodes that they came from."""
    found: dict[str, Mapping[str, str]] = {}
    for node in nodes:
        for name in node["originalLayersNames"].split(","):
            for suffix in _ADDED:
                name = name.removesuffix(suffix)
            found.setdefault(name, node)
    return found


def _audit(name: str, kind: str, planned: Mapping[str, Any]) -> LayerAudit:
    node = planned.get(name)
    if node is None:
        return LayerAudit(name, kind, False, "not found in the compiled model")
    described = f"{node['layerType']} {node['primitiveType']}"
    integer = node["runtimePrecision"] in _INTEGER
    return LayerAudit(name, kind, integer, described if integer else f"{described}: OpenVINO kept it in float")
