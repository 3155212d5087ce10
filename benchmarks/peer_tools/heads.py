"""The arithmetic of heads: what other tools are told to leave in float."""

from pathlib import Path

import onnx


def behind_layers(path: Path) -> list[str]:
    """Names of the nodes from which no convolution is reached any more."""
    nodes = list(onnx.load(path).graph.node)
    leads = set()  # tensors from which a convolution is reached
    for node in reversed(nodes):
        if node.op_type == "Conv" or any(output in leads for output in node.output):
            leads.update(node.input)
    return [node.name for node in nodes if node.op_type != "Conv" and not any(name in leads for name in node.output)]
