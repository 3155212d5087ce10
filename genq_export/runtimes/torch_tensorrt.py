"""torch-tensorrt's runtime module over the engine of a build: streams and devices are torch's business.

`load` uses it where it is installed beside TensorRT; verification reads codes, which only an execution context gives.
"""

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from genq_export.core.errors import BackendError, reason_of
from genq_export.network.outputs import INPUT
from genq_export.runtimes.base import Batch, Codes, Outputs, Session

_PACKAGE = "torch_tensorrt"


def is_installed() -> bool:
    """Is torch-tensorrt here?"""
    return find_spec(_PACKAGE) is not None


class TorchTensorRtSession(Session):
    """An engine that fits this GPU, as a torch module.

    Args:
        plan: the engine's bytes.
        largest_batch: of the engine; larger batches run in pieces.
        names: of its outputs.
        torch: the module, on a machine with a GPU.

    Raises:
        BackendError: where torch-tensorrt does not load it.
    """

    name = "tensorrt"

    def __init__(self, plan: bytes, largest_batch: int, names: Sequence[str], torch: Any) -> None:
        self.device = torch.cuda.get_device_name(0)
        self.title = "torch-tensorrt"
        self._torch, self._largest_batch, self._names = torch, largest_batch, list(names)
        runtime = importlib.import_module(f"{_PACKAGE}.dynamo.runtime")
        try:
            self._module: Any = runtime.TorchTensorRTModule(
                serialized_engine=plan, input_binding_names=[INPUT], output_binding_names=self._names, name="model"
            )
        except Exception as error:  # whatever the runtime behind it raises
            raise BackendError(f"torch-tensorrt does not load the engine: {reason_of(error)}") from None

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name."""
        pieces = self._torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).split(self._largest_batch)
        answers = [self._run(piece) for piece in pieces]
        return {
            name: np.concatenate(parts) for name, parts in zip(self._names, zip(*answers, strict=True), strict=True)
        }

    def _run(self, piece: Any) -> list[Any]:
        """One output comes as a tensor, several as a tuple."""
        found = self._module(piece.cuda())
        return [part.float().cpu().numpy() for part in (found if isinstance(found, tuple | list) else (found,))]

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Not from a torch module. Raises BackendError."""
        raise BackendError("torch-tensorrt gives no codes: verification runs the engine itself")

    def close(self) -> None:
        """Drop the module."""
        self._module = None
