"""What graph viewers are told of each node."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from genq_export.core.errors import BackendError
from genq_export.core.workspace import Workspace
from runtime_tests.report.deployed_graph import deployed_graph
from runtime_tests.report.model import Report, read_report
from runtime_tests.report.overlay import ANNOTATED, overlay


@pytest.fixture(scope="module")
def told(finished: Workspace) -> tuple[Report, Path]:
    return read_report(finished.folder), finished.path("model.onnx")


def test_the_graph_of_a_report_leads_from_the_input_to_the_last_layer(told: tuple[Report, Path]) -> None:
    report, _ = told
    names = [item.name for item in report.graph]
    assert len(set(names)) == len(names)
    for number, item in enumerate(report.graph):
        assert set(item.reads) <= set(names[:number])
    assert [item.name for item in report.graph if not item.reads] == ["input"]
    last = report.graph[-1]
    assert last.layers == (last.name,) == (report.layers[-1].name,) and last.bits == 7
    assert {layer for item in report.graph for layer in item.layers} == {layer.name for layer in report.layers}


def test_of_a_file_that_cannot_be_read_no_graph_is_known(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert deployed_graph(tmp_path / "model.onnx", None) == ()


def test_node_data_has_a_tensor_of_the_file_for_every_layer_and_quantizer(told: tuple[Report, Path]) -> None:
    report, file = told
    files = overlay(report, file)
    tensors = {name for node in onnx.load(file).graph.node for name in node.output}
    data = {name: json.loads(content) for name, content in files.items() if name != ANNOTATED}
    assert set(data) == {"bits.json", "sqnr.json", "kernels.json"}
    for content in data.values():
        assert content["results"] and set(content["results"]) <= tensors
    assert len(data["kernels.json"]["results"]) == len(report.layers)
    quantizers = len(report.graph) - 1
    assert len(data["bits.json"]["results"]) == len(report.layers) + quantizers
    noise = {item.sqnr_db for item in report.run.layers if item.sqnr_db is not None}
    assert {item["value"] for item in data["sqnr.json"]["results"].values()} == noise


def test_the_annotated_file_computes_the_same(told: tuple[Report, Path], tmp_path: Path) -> None:
    report, file = told
    copy = tmp_path / "annotated.onnx"
    copy.write_bytes(overlay(report, file)[ANNOTATED])
    batch = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    answers = [onnxruntime.InferenceSession(path).run(None, {"input": batch})[0] for path in (file, copy)]
    assert np.array_equal(*answers)
    notes = [entry for node in onnx.load(copy).graph.node for entry in node.metadata_props]
    assert {"genq_export.bits", "genq_export.integer", "genq_export.sqnr_db"} <= {entry.key for entry in notes}


def test_a_damaged_file_is_said(told: tuple[Report, Path], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(BackendError, match="cannot read"):
        overlay(told[0], tmp_path / "model.onnx")
