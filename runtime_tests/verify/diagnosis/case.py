"""What an experiment may look at, and what it may say."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from genq_export.core.errors import BackendError
from genq_export.network.onnx_graph import QuantizerNode
from genq_export.runtimes.base import Batch, Codes, Outputs
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.torch_modules import TorchBackend
from runtime_tests.verify.code_comparison import container_shift
from runtime_tests.verify.results import BackendFidelity


@dataclass(frozen=True)
class Case:
    """A runtime whose codes differ from the oracle's.

    first: images of a batch in which the first diverging quantizer differs by itself, with the oracle's and the
    runtime's codes. model, nodes: the deployed file and its quantizers in topological order. unfused: how ONNX Runtime
    without optimisations compares, where it ran. limit: seconds that an answer of a runtime may take.
    """

    fidelity: BackendFidelity
    oracle: TorchBackend
    first: tuple[Batch, Codes, Codes]
    model: onnx.ModelProto
    nodes: Sequence[QuantizerNode]
    unfused: BackendFidelity | None
    limit: float

    @property
    def first_quantizer(self) -> QuantizerNode | None:
        """Where the codes first differ."""
        return next((node for node in self.nodes if node.name == self.fidelity.first_diverging), None)

    def codes_of(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Oracle's and runtime's codes of one quantizer, the container's shift taken out; empty where one lacks it."""
        _, expected, found = self.first
        if name not in expected or name not in found:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        right, codes = expected[name].astype(np.int32), found[name].astype(np.int32)
        return right, codes - container_shift(right, codes)


@dataclass(frozen=True)
class Finding:
    """What one experiment showed.

    explanation: one sentence without a full stop, None where the experiment does not confirm its suspicion.
    evidence: what was seen, a line each, whether or not it confirms.
    """

    explanation: str | None = None
    evidence: tuple[str, ...] = ()


Experiment = Callable[[Case], Finding]
"""Tests one suspicion. It could have come out otherwise: nothing is explained by what was not tried."""

NOTHING = Finding()


def codes_of_copy(model: onnx.ModelProto, backend: str, batch: Batch, limit: float) -> tuple[Outputs, Codes] | None:
    """Outputs and codes of a changed copy of the file in one runtime; None where it does not run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.onnx"
        path.write_bytes(model.SerializeToString())
        try:
            opened = IsolatedBackend(backend, path, limit)
        except BackendError:
            return None
        try:
            return opened.codes(batch)
        except BackendError:
            return None
        finally:
            opened.close()


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to change."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def quantizer_input(case: Case, name: str) -> tuple[Any, NDArray[np.float32]] | None:
    """The oracle's quantizer of that name and the numbers that reach it in the case's batch; None unless it is one."""
    import torch

    seen: list[NDArray[np.float32]] = []

    def keep(_part: Any, inputs: Any) -> None:
        seen.append(inputs[0].cpu().numpy())

    named = (part for part in case.oracle.module.modules() if getattr(part, "name", None) == name)
    parts = [part for part in named if hasattr(part, "scale")]
    if len(parts) != 1:
        return None
    handle = parts[0].register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            case.oracle.module(torch.from_numpy(case.first[0]).to(case.oracle.device))
    finally:
        handle.remove()
    return (parts[0], seen[0]) if seen else None
