"""The process in which a runtime reads a file that may come from anyone; a crash takes this process alone.

`python -P -m runtime_tests.qdq_file.worker`, driven over its standard streams.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendError
from genq_export.runtimes.isolation.protocol import Message
from genq_export.runtimes.isolation.serving import serve_standard_streams
from runtime_tests.qdq_file.loading import Loaded, Manner, load

# What the protocol does not carry goes as a type that holds every such number.
_CARRIED = {
    "bool": "uint8", "float16": "float32", "int16": "int32", "uint16": "int32", "uint32": "int64", "uint64": "int64",
}  # fmt: skip


class Server:
    """Answers requests about one file at a time."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None

    def answer(self, request: Message) -> Message:
        """What one request asks for. Raises BackendError."""
        fields = request.fields
        if fields["op"] == "load":
            self._loaded = load(Manner(**fields["manner"]), Path(fields["path"]))
            return Message({"title": self._loaded.title})
        if fields["op"] == "layers":
            return Message({"layers": _layers(fields["runtime"], Path(fields["path"]))})
        if fields["op"] == "kernels":
            return Message({"kernels": _kernels(Path(fields["path"]))})
        if fields["op"] == "saturates":
            return Message({"saturates": _saturates(fields["runtime"])})
        if self._loaded is None:
            raise BackendError("no file loaded")
        tensors = fields["tensors"]
        found = self._loaded.run(dict(request.arrays), tensors)
        return Message({}, {name: _carried(part) for name, part in zip(tensors, found, strict=True)})


def _carried(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise BackendError(f"an output holds {array.dtype}, no numbers")
    return array.astype(_CARRIED.get(array.dtype.name, array.dtype), copy=False)


def _layers(runtime: str, path: Path) -> list[dict[str, Any]]:
    """Which layers of a file run in integers."""
    from export.audit.onnxruntime import audit_onnxruntime
    from export.audit.openvino import audit_openvino

    audit = audit_openvino if runtime == "openvino" else audit_onnxruntime
    return [layer.row() for layer in audit(path)]


def _kernels(path: Path) -> dict[str, str]:
    """The operator that gives each tensor in ONNX Runtime's plan of a file."""
    from export.audit.onnxruntime import planned_nodes

    return {output: node.op_type for node in planned_nodes(path) for output in node.output if output}


def _saturates(runtime: str) -> bool:
    """Does the runtime cut off sums of 8-bit products on this processor?"""
    from genq_export.runtimes import onnxruntime, openvino

    return openvino.sums_saturate() if runtime == "openvino" else onnxruntime.sums_saturate()


def main() -> None:
    """Serve until the process that started this one closes its streams."""
    serve_standard_streams(Server().answer)


if __name__ == "__main__":
    main()
