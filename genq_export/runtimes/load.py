"""Run a build folder's model on the best runtime present: `genq_export.load("build/…")`."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendError, UserError
from genq_export.core.workspace import Workspace, sha256
from genq_export.network.free_size import free_size_of
from genq_export.runtimes import runtime as runtime_of
from genq_export.runtimes import runtimes
from genq_export.runtimes.base import Batch, Outputs, Session

_ANYWHERE = "onnxruntime"
_MODEL_FILE = "model.onnx"
PIXELS_FILE = "model.uint8.onnx"

Pixels = NDArray[np.uint8]


def load(
    folder: str | Path, threads: int | None = None, runtime: str | None = None
) -> Callable[[Batch | Pixels], Batch | Outputs]:
    """A callable from preprocessed images, float32 [N, C, H, W], to what the network gives.

    What it gives is an array where it has one output (logits, float32 [N, classes]), else arrays by the names of its
    outputs. Where the build has a file for pixels (`--input uint8`), it takes those as well: uint8, [N, C, H, W] or
    [N, H, W, C] as the file does, colours in the network's order.
    A build with `--dynamic-size` takes images of other heights and widths as well.

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
    chosen = runtime_of(runtime or _best(workspace.folder))
    container = workspace.summary("export").get("storage", {}).get("activations")
    free = free_size_of(workspace, "export")

    def opened(name: str) -> Session:
        try:
            return chosen.open_build(_exported(workspace, name), threads or 0, container)
        except BackendError as error:
            raise UserError(f"{folder}: {error}") from None

    session, for_pixels = opened(_MODEL_FILE), cache(partial(opened, PIXELS_FILE))

    def run(images: Batch | Pixels) -> Batch | Outputs:
        problem = None if free is None else free.problem(tuple(np.shape(images)[1:]))
        if problem is not None:
            raise UserError(f"{folder}: {problem}")
        try:
            if images.dtype == np.uint8:
                found = for_pixels().outputs(np.ascontiguousarray(images))
            else:
                found = session.outputs(np.ascontiguousarray(images, dtype=np.float32))
            return next(iter(found.values())) if len(found) == 1 else found
        except BackendError as error:
            raise UserError(str(error)) from None

    return run


def _exported(workspace: Workspace, name: str) -> Path:
    """A file of the build, as it was exported."""
    path, recorded = workspace.path(name), workspace.output_hashes("export").get(name)
    if name == PIXELS_FILE and recorded is None:
        raise UserError(
            f"{workspace.folder} has no file for uint8 pixels: build it with --input uint8, or give what its"
            " preprocessing makes of them, float32"
        )
    if not path.is_file() or sha256(path) != recorded:
        raise UserError(
            f"{path} is missing or not the file that this build exported; run `genq-export export {workspace.folder}`"
        )
    return path


def _best(folder: Path) -> str:
    return next((item.name for item in runtimes() if item.preferred(folder)), _ANYWHERE)
