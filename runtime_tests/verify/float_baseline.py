"""The float network as an ONNX file: the baseline of latency and size."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from genq_export.core.errors import BackendError
from genq_export.core.workspace import write_atomic
from genq_export.models.loaded import LoadedModel
from genq_export.network.outputs import LOGITS, Answer

_PREFIX = "output/"  # that no tensor inside begins with


def export_float(model: LoadedModel, path: Path, half: bool = False) -> None:
    """Write the float network with a dynamic batch, input "input", outputs by name, all float32. Raises BackendError.

    half: weights and everything between input and output are float16.
    """
    import torch

    module = _Half(model.module) if half else model.module
    example, names = torch.zeros(2, *model.input_size), list(model.outputs) or [LOGITS]
    batch: Any = torch.export.Dim.DYNAMIC
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                module,
                (example,),
                path,
                dynamo=True,
                input_names=["input"],
                output_names=[_PREFIX + name for name in names],
                dynamic_shapes=({0: batch},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds; without a baseline the other checks still hold
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(f"the float network could not be written as ONNX: {reason}") from None
    _name_outputs(path, names)


def _name_outputs(path: Path, names: Sequence[str]) -> None:
    """Give outputs their names; a tensor inside that torch has called so, after its operator, steps aside."""
    model = onnx.load(path)
    graph = model.graph
    renamed = {name: f"{name}/inside" for name in names} | {_PREFIX + name: name for name in names}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [renamed.get(name, name) for name in tensors]
    for value in (*graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    write_atomic(path, model.SerializeToString())


class _Half(nn.Module):
    """A float16 copy of a network between float32 input and output."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, x: Tensor) -> Answer:
        answer: Answer = self.module(x.half())
        if isinstance(answer, Tensor):
            return answer.float()
        return {name: tensor.float() for name, tensor in answer.items()}


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter's progress lines and deprecation warnings concern nobody here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
