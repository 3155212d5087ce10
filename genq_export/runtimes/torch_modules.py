"""Torch modules in this process: the float network, the fake-quant reference and the integer oracle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.network.outputs import Answer, by_name
from genq_export.runtimes.base import Batch, Codes, Outputs

FLOAT, REFERENCE, ORACLE = "float", "reference", "oracle"
TITLES = {FLOAT: "float32 network", REFERENCE: "fake-quant reference", ORACLE: "integer oracle"}


class TorchBackend:
    """A torch module as a `Backend`.

    record: `record_codes(module, x)` of `genq_export.network.hooks`, or None for a network without quantizers.
    """

    def __init__(
        self, name: str, title: str, module: Any, record: Callable[..., Any] | None = None, device: str = "cpu"
    ) -> None:
        self.name, self.title, self.device = name, title, device
        self.module = module.to(device)
        self._record = record

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name."""
        import torch

        with torch.inference_mode():
            return _numpy(self.module(torch.from_numpy(batch).to(self.device)))

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and int32 codes by quantizer name; no codes for a network without quantizers."""
        import torch

        if self._record is None:
            return self.outputs(batch), {}
        with torch.inference_mode():
            answer, codes = self._record(self.module, torch.from_numpy(batch).to(self.device))
        return _numpy(answer), {name: code.cpu().numpy().astype(np.int32) for name, code in codes.items()}

    def close(self) -> None:
        """Nothing to free."""


def float_backend(module: Any) -> TorchBackend:
    """A float network as it is."""
    return TorchBackend(FLOAT, TITLES[FLOAT], module)


def reference_backend(folder: Path, device: str = "cpu") -> TorchBackend:
    """The fake-quant reference of a build folder, computing on codes. Raises UserError where it cannot be loaded."""
    from genq_export.network.files import load_reference
    from genq_export.network.hooks import record_codes

    return TorchBackend(REFERENCE, TITLES[REFERENCE], load_reference(folder), record_codes, device)


def oracle_backend(folder: Path, device: str = "cpu") -> TorchBackend:
    """The exact integer model of a build folder. Raises UserError where it cannot be loaded."""
    from genq_export.network.files import load_integer_model
    from genq_export.network.hooks import record_codes

    title = TITLES[ORACLE] if device == "cpu" else f"{TITLES[ORACLE]} on {device}"
    return TorchBackend(ORACLE, title, load_integer_model(folder), record_codes, device)


def _numpy(answer: Answer) -> Outputs:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in by_name(answer).items()}
