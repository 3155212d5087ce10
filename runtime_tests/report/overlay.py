"""What a report knows of each node, in the forms that graph viewers read.

* Model Explorer: node data, a file a figure, by the name of a tensor that the node gives (its `GraphNodeData`).
* Netron: `annotated.onnx`, the deployed file with `metadata_props` at its nodes; it computes the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from genq_export.network.names import codes_tensor
from genq_export.network.onnx_graph import read_model
from runtime_tests.report.model import Report

_NOISY_TO_CLEAN = [
    {"stop": 0, "bgColor": "#b23a2e"},
    {"stop": 0.5, "bgColor": "#c08a3e"},
    {"stop": 1, "bgColor": "#2c6aa0"},
]
_INTEGER, _FLOAT = {"value": 1, "bgColor": "#2c6aa0"}, {"value": 0, "bgColor": "#b23a2e"}
ANNOTATED = "annotated.onnx"


def overlay(report: Report, file: Path) -> dict[str, bytes]:
    """Contents by file name: `bits.json`, `sqnr.json`, `kernels.json`, and the file with notes at its nodes.

    Raises:
        BackendError: where the deployed file is missing or damaged.
    """
    model = read_model(file)
    gives = {node.name: node.output[0] for node in model.graph.node if node.name and node.output}
    facts = facts_by_node(report, gives)
    data = {
        "bits.json": node_data(
            "bits", {gives[name]: {"value": own["bits"]} for name, own in facts.items() if "bits" in own}
        ),
        "sqnr.json": node_data(
            "SQNR, dB",
            {gives[name]: {"value": own["sqnr_db"]} for name, own in facts.items() if "sqnr_db" in own},
            gradient=_NOISY_TO_CLEAN,
        ),
        "kernels.json": node_data(
            "integer (1) or float (0)",
            {gives[name]: _INTEGER if own["integer"] else _FLOAT for name, own in facts.items() if "integer" in own},
        ),
    }
    files = {name: json.dumps(content, indent=1).encode() for name, content in data.items()}
    return files | {ANNOTATED: annotated(model, facts)}


def facts_by_node(report: Report, gives: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What is known, by node: layers by their name, quantizers by the node that gives their codes.

    gives: the first tensor of every node, by the node's name. Nodes of which nothing is known are left out.
    """
    by_tensor = {tensor: name for name, tensor in gives.items()}
    quality = {item.name: item for item in report.run.layers}
    facts: dict[str, dict[str, Any]] = {}
    for layer in report.layers:
        facts[layer.name] = {"bits": layer.weight_bits, "integer": layer.integer, "kernel": layer.detail or None}
    for item in report.graph:
        node = by_tensor.get(codes_tensor(item.name))
        if node is not None:
            found = quality.get(item.name)
            own = {"sqnr_db": found.sqnr_db, "own_sqnr_db": found.own_sqnr_db} if found is not None else {}
            facts[node] = {"bits": item.bits, **own}
    known = {name: {key: value for key, value in own.items() if value is not None} for name, own in facts.items()}
    return {name: own for name, own in known.items() if own and name in gives}


def node_data(name: str, results: dict[str, Any], **style: Any) -> dict[str, Any]:
    """Model Explorer's `GraphNodeData` as JSON: results by tensor name."""
    return {"name": name, "results": results, **style}


def annotated(model: onnx.ModelProto, facts: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The model with the facts as metadata of its nodes."""
    for node in model.graph.node:
        for key, value in facts.get(node.name, {}).items():
            node.metadata_props.add(
                key=f"genq_export.{key}", value=f"{value:g}" if isinstance(value, float) else str(value)
            )
    return bytes(model.SerializeToString(deterministic=True))
