"""The model under the names that the libraries feed it by, and the check that goes with it."""

import hashlib

import onnx

from export.check.read import read_golden
from genq_export.core.workspace import Workspace

INPUT = "pixel_values"
MODEL = "onnx/model_quantized.onnx"


def renamed(model: onnx.ModelProto) -> bytes:
    """The same graph, with `pixel_values` as the name of its one input."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (source,) = copy.graph.input
    before, source.name = source.name, INPUT
    for node in copy.graph.node:
        for place, name in enumerate(node.input):
            if name == before:
                node.input[place] = INPUT
    return bytes(copy.SerializeToString(deterministic=True))


def check_files(workspace: Workspace, model: bytes) -> dict[str, bytes]:
    """The build's `check/`, of the renamed model; empty where the build has none.

    Raises:
        UserError: where its files are damaged.
    """
    folder = workspace.path("check")
    if not (folder / "golden.json").is_file():
        return {}
    golden = read_golden(workspace).golden.model_copy(
        update={"model": hashlib.sha256(model).hexdigest(), "input": INPUT}
    )
    kept = {f"check/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    return kept | {"check/golden.json": (golden.model_dump_json(indent=1) + "\n").encode()}
