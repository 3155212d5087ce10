"""A target of its own, registered as any other: it builds the embedded network into a file and audits it."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from export.audit.layer import LayerAudit
from export.audit.onnxruntime import audit_onnxruntime
from export.onnx_qdq import export_onnx
from export.run import run as run_export
from genq_export.config.build import BuildConfig
from genq_export.config.export import ExportConfig
from genq_export.config.registry import TARGETS
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.files import load_integer_model
from genq_export.network.hooks import record_codes
from genq_export.network.integer import IntegerQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.run import run as run_quantize
from genq_export.runtimes import runtime
from genq_export.targets import rule_for, target
from genq_export.targets.base import Compiled, InputSize, Target
from tests.targets.conftest import Photographs

QUIET = Progress(quiet=True)


class Narrow(Target):
    """As ONNX Runtime's, with weights stored in 8 bits and a note that its compiler leaves beside the file."""

    name, title, default_runtime = "narrow", "Narrow", "onnxruntime"
    rule = rule_for("onnxruntime").model_copy(update={"name": "narrow", "int4_storage": False})

    def emit(
        self,
        integer_model: GraphNetwork,
        input_size: InputSize,
        settings: ExportConfig,
        path: Path,
        free_size: object = None,
    ) -> dict[str, Any]:
        return export_onnx(integer_model, input_size, self.rule, path, settings.int4_storage)

    def audit(self, path: Path) -> list[LayerAudit]:
        return audit_onnxruntime(path)

    def compile(
        self,
        workspace: Workspace,
        input_size: InputSize,
        settings: ExportConfig,
        storage: dict[str, str],
        progress: Progress,
    ) -> Compiled:
        facts = {"builder": "narrow", "version": "1", "bytes": 4, **storage}
        workspace.write_bytes("model.narrow", b"plan")
        workspace.write_json("narrow.json", facts)
        return Compiled(("model.narrow", "narrow.json"), facts)

    def run_instructions(self, input_size: InputSize, settings: ExportConfig, compiled: Compiled | None) -> str:
        return "Run it **narrowly**.\n"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> str:
    """Its file is a module, its registration one line."""
    module = ModuleType("narrow_target")
    module.__dict__["NARROW"] = Narrow()
    monkeypatch.setitem(sys.modules, "narrow_target", module)
    monkeypatch.setitem(TARGETS, "narrow", "narrow_target:NARROW")
    return "narrow"


def test_a_build_for_an_added_target_is_a_file_that_computes_the_oracles_codes(
    narrow: str, photographs: Photographs, tmp_path: Path
) -> None:
    config = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick").model_copy(update={"target": narrow})
    model, workspace = load_model(config.model), Workspace.open(tmp_path / "build")
    run_quantize(workspace, config, model, photographs.files, tmp_path / "partial", QUIET)
    result = run_export(workspace, config, model, QUIET)
    assert {"model.onnx", "model.narrow", "narrow.json", "README.md"} <= set(result.outputs)
    assert result.summary["audit"] and all(row["integer"] for row in result.summary["audit"])
    assert result.summary["storage"]["weights"] == "int8" and result.summary["engine"]["builder"] == "narrow"
    path = workspace.path("model.onnx")
    assert TensorProto.INT4 not in {entry.data_type for entry in onnx.load(path).graph.initializer}
    assert "Run it **narrowly**." in workspace.path("README.md").read_text()
    session = runtime(target(narrow).default_runtime).open(path, 1)
    _, codes = session.codes(photographs.batch.numpy())
    oracle = load_integer_model(workspace.folder)
    _, expected = record_codes(oracle, photographs.batch)
    # Signed grids travel shifted in UINT8.
    shift = {part.name: 128 * (part.lo < 0) for part in oracle.modules() if isinstance(part, IntegerQuantizer)}
    assert codes.keys() == expected.keys() == shift.keys()
    for name, found in codes.items():
        assert np.array_equal(found.astype(np.int32) - shift[name], expected[name].numpy()), name
