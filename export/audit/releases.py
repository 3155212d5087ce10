"""Which releases of ONNX Runtime take a file: read from its opset, its IR version and its operators."""

from pathlib import Path

import onnx_ir as ir

from export.audit.graph import input_of, read_onnx
from genq_export.config.releases import Release, first_release

_FOUR_BITS = (ir.DataType.INT4, ir.DataType.UINT4)


def taken_by(path: Path) -> Release | None:
    """The first release that takes the file, as do all later ones; None: none that is known here.

    Raises:
        UserError: the file is no ONNX file.
    """
    model = read_onnx(path)
    opset, nodes = model.opset_imports[""], list(model.graph.all_nodes())
    products = opset >= 21 and any(map(_gives_codes, nodes))
    return first_release(opset, model.ir_version, products, any(map(_casts_four_bits, nodes)))


def _gives_codes(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and any(use.node.op_type == "QuantizeLinear" for use in node.outputs[0].uses())


def _casts_four_bits(node: ir.Node) -> bool:
    value = input_of(node, 0)
    return node.op_type == "Cast" and value is not None and value.dtype in _FOUR_BITS
