"""Run a build folder's model on the best runtime present: `genq_export.load("build/…")`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genq_export.errors import UserError, reason_of
from genq_export.workspace import Workspace, sha256

Images = NDArray[np.float32]


def load(folder: str | Path, threads: int | None = None) -> Callable[[Images], Images]:
    """A callable from preprocessed images, float32 [N, C, H, W], to logits, float32 [N, classes].

    Raises UserError where the folder holds no finished export, its ONNX file is not the one that was verified, or the
    runtime refuses it.
    """
    import onnxruntime

    workspace = Workspace.existing(Path(folder))
    path = workspace.path("model.onnx")
    recorded = workspace.output_hashes("export")["model.onnx"]
    if not path.is_file() or sha256(path) != recorded:
        raise UserError(
            f"{path} is missing or not the file that this build exported; run `genq-export export {folder}`"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no public base class
        raise UserError(f"ONNX Runtime cannot load {path}: {reason_of(error)}") from None

    def run(images: Images) -> Images:
        (logits,) = session.run(["logits"], {"input": np.ascontiguousarray(images, dtype=np.float32)})
        return np.asarray(logits, dtype=np.float32)

    return run
