"""The float network beside the integer one, for those who want to hold one against the other."""

import tempfile
from pathlib import Path

import onnx

from genq_export.core.errors import BackendError, UserError
from genq_export.core.workspace import Workspace
from genq_export.pipeline.build import read_config
from genq_export.pipeline.package.files import renamed
from genq_export.pipeline.reverify import float_network
from runtime_tests.verify.float_baseline import export_float

FLOAT = "onnx/model.onnx"


def float_model(workspace: Workspace) -> tuple[bytes, str | None]:
    """The float network as ONNX under the libraries' names, and a note where it is the reference in float instead.

    Raises:
        UserError: where it cannot be written as ONNX.
    """
    model, note = float_network(workspace, read_config(workspace.folder))
    with tempfile.TemporaryDirectory(prefix="genq-export-") as folder:
        path = Path(folder) / "float.onnx"
        try:
            export_float(model, path)
        except BackendError as error:
            raise UserError(f"{error}; leave --float out") from None
        return renamed(onnx.load(path), model.task), note
