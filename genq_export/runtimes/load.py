"""Run a build folder's model on the best runtime present: `genq_export.load("build/…")`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from genq_export.core.errors import BackendError, UserError
from genq_export.core.workspace import Workspace, sha256
from genq_export.runtimes import runtime as runtime_of
from genq_export.runtimes import runtimes
from genq_export.runtimes.base import Batch, Outputs

_ANYWHERE = "onnxruntime"


def load(
    folder: str | Path, threads: int | None = None, runtime: str | None = None
) -> Callable[[Batch], Batch | Outputs]:
    """A callable from preprocessed images, float32 [N, C, H, W], to what the network gives.

    That is an array where it has one output (logits, float32 [N, classes]), else arrays by the names of its outputs.

    Args:
        folder: of a build whose export is finished.
        threads: of a CPU runtime; None: all cores.
        runtime: a name such as `openvino`; None takes the best one here: TensorRT where the build has an engine and
            this machine a GPU, else ONNX Runtime, which computes a file made for TensorRT as it is written, in float.
            OpenVINO computes the reference's codes in files made for it (docs/numerics.md).

    Raises:
        UserError: where the folder holds no finished export, its ONNX file is not the one that was exported, the
            runtime is not here or refuses it, or the engine is corrupt, of another model, or built for another GPU or
            version. The callable raises it for images that the network does not take.
    """
    workspace = Workspace.existing(Path(folder))
    path = workspace.path("model.onnx")
    recorded = workspace.output_hashes("export").get("model.onnx")
    if not path.is_file() or sha256(path) != recorded:
        raise UserError(
            f"{path} is missing or not the file that this build exported; run `genq-export export {folder}`"
        )
    chosen = runtime_of(runtime or _best(workspace.folder))
    container = workspace.summary("export").get("storage", {}).get("activations")
    try:
        session = chosen.open_build(path, threads or 0, container)
    except BackendError as error:
        raise UserError(f"{folder}: {error}") from None

    def run(images: Batch) -> Batch | Outputs:
        try:
            found = session.outputs(np.ascontiguousarray(images, dtype=np.float32))
            return next(iter(found.values())) if len(found) == 1 else found
        except BackendError as error:
            raise UserError(str(error)) from None

    return run


def _best(folder: Path) -> str:
    return next((item.name for item in runtimes() if item.preferred(folder)), _ANYWHERE)
