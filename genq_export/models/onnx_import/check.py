"""An imported network held against ONNX Runtime on random numbers: node by node, then as a whole.

Every node gets the very numbers that the network computed in front of it, so that a difference is its own. A node that
the runtime does not compute by itself is covered by the whole.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from genq_export.core.errors import UserError, reason_of
from genq_export.models.onnx_import.assemble import Imported
from genq_export.models.onnx_import.container import reduced, shown
from genq_export.models.onnx_import.groups import Group
from genq_export.models.onnx_import.reading import OnnxFile
from genq_export.models.onnx_import.values import IMAGES, Value, line
from genq_export.runtimes.onnxruntime import plain_options

NODE_TOLERANCE = 1e-4  # of the largest number of a tensor
TOLERANCE = 1e-3  # of the largest number of an output, behind all layers
# Computed by way of numbers around 1: a result of 1e-5 has an error of some float32 steps of 1, not of itself.
_BY_WAY_OF_ONE = ("Sigmoid", "HardSigmoid", "Tanh", "Erf", "Gelu", "Softplus", "Elu", "Celu", "Selu", "Mish", "Swish")
_LEAST_OF_ONE, _LEAST = 1e-2, 1e-6  # numbers below are judged as if the largest were this
_ELEMENTS = {
    torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE, torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32, torch.int16: TensorProto.INT16, torch.int8: TensorProto.INT8,
    torch.uint8: TensorProto.UINT8, torch.bool: TensorProto.BOOL,
}  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What the runtime makes of random images.

    outputs: of the whole file, for one image at a time and, where its batch is free, for two at once; None: it does
    not run the file, and `problem` says why.
    """

    outputs: tuple[list[NDArray[Any]], ...] | None
    problem: str = ""


def answers_of(file: OnnxFile, input_size: tuple[int, int, int], channels_last: bool) -> Answers:
    """Ask the runtime, which holds the file's numbers meanwhile: nothing else should."""
    images = _images(input_size)
    layout = images.permute(0, 2, 3, 1).contiguous() if channels_last else images
    names = list(file.results)
    try:
        session = _session(_as_run(file), exact=False, folder=file.path.parent)
        parts = [
            [session.run(names, {file.source: part.numpy()}) for part in layout.split(count)]
            for count in ((1,) if file.shape[0] == 1 else (1, 2))
        ]
    except Exception as error:  # onnxruntime's exceptions have no public base class
        return Answers(None, reason_of(error))
    return Answers(tuple([np.concatenate(outputs) for outputs in zip(*calls, strict=True)] for calls in parts))


def check(imported: Imported, input_size: tuple[int, int, int], answers: Answers) -> float:
    """Compare with the file, and with its nodes one by one.

    Args:
        imported: as `assemble` gives it.
        input_size: (channels, height, width).
        answers: of the same file, for this size.

    Returns:
        The largest difference of an output, relative to its largest number.

    Raises:
        UserError: naming the node, or the output, that is not what the runtime computes.
    """
    if answers.outputs is None:
        raise UserError(
            f"{imported.file.path}: ONNX Runtime does not run it ({answers.problem}), so it cannot be checked"
        )
    images = _images(input_size)
    first = images[:1]
    with torch.no_grad():
        watcher = _Watcher(imported)
        watcher.seen(imported.file.source, first.permute(0, 2, 3, 1) if imported.channels_last else first)
        alone = imported.network.run(first, watcher.seen)
        del watcher
        _compare_outputs(imported, alone, [part[:1] for part in answers.outputs[0]])
        return _compare_outputs(imported, imported.network.run(images), answers.outputs[-1])


def _images(input_size: tuple[int, int, int]) -> Tensor:
    return torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))


class _Watcher:
    """Sees the network's tensors as they are computed, and keeps those that a node still has to be checked with."""

    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._kept: dict[str, Tensor] = {}
        self._waiting: dict[str, list[Group]] = {}
        self._needed: Counter[str] = Counter()
        for group in imported.groups:
            names = [imported.values[name].name for name in group.node.output if name in imported.values]
            self._waiting.setdefault(max(names, key=_place), []).append(group)
            self._needed.update({*self._computed_inputs(group), *names})

    def seen(self, name: str, value: Tensor) -> None:
        """Check the nodes whose last output this is."""
        if name in self._needed:
            self._kept[name] = value
        for group in self._waiting.pop(name, ()):
            self._check(group)
            outputs = {self._imported.values[part].name for part in group.node.output if part in self._imported.values}
            self._needed.subtract({*self._computed_inputs(group), *outputs})
        for part in [part for part in self._kept if self._needed[part] <= 0]:
            del self._kept[part]

    def _computed_inputs(self, group: Group) -> set[str]:
        values = [self._imported.values[name] for name in _inputs(group) if name in self._imported.values]
        return {value.name for value in values if not value.known}

    def _check(self, group: Group) -> None:
        feeds = {name: self._numbers(name) for name in _inputs(group)}
        outputs = [name for name in group.node.output if name in self._imported.values]
        found = _run_alone(self._imported.file.opset, group, feeds, outputs)
        for name, wanted in zip(outputs, found or (), strict=False):
            self._compare(group, self._kept[self._imported.values[name].name], wanted)

    def _numbers(self, name: str) -> NDArray[Any]:
        value = self._imported.values.get(name)
        if value is None:
            return self._imported.file.tensors[name].detach().numpy()
        return (_known(value) if value.known else self._kept[value.name]).detach().contiguous().numpy()

    def _compare(self, group: Group, found: Tensor, wanted: NDArray[Any]) -> None:
        least = _LEAST_OF_ONE if group.node.op_type in _BY_WAY_OF_ONE else _LEAST
        difference = relative_difference(found.numpy(), wanted, least)
        if not difference <= NODE_TOLERANCE:
            raise UserError(
                f"{self._imported.file.path}: {shown(group.node.name, group.node.output)} ({group.node.op_type}) was"
                f" not read as ONNX Runtime computes it (it differs by {difference:.1e} of its largest number): please"
                " report it with the file"
            )


def relative_difference(found: NDArray[Any], wanted: NDArray[Any], least: float = _LEAST) -> float:
    """The largest difference as a share of the largest number, of `least` if that is more.

    Infinite where shapes, types or infinities differ.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if found.dtype != np.float32:  # whose differences float32 holds as well, in half the memory
        found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(wanted)
    if not finite.all():
        if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True):
            return float("inf")
        found, wanted = found[finite], wanted[finite]
    with np.errstate(all="ignore"):
        difference = np.subtract(found, wanted)
    gap = float(np.abs(difference, out=difference).max(initial=0.0))
    largest = max(float(wanted.max(initial=0.0)), -float(wanted.min(initial=0.0)))
    return gap / max(largest, least) if np.isfinite(gap) else float("inf")


def _known(value: Value) -> Tensor:
    """For one image: the first row of a tensor that has one for each, or integers on the line through those tried."""
    first = value.tried[0]
    if value.fixed or [part.shape[:1] for part in value.tried] == [(count,) for count in IMAGES]:
        return first if value.fixed else first[:1]
    sizes = line([part.flatten().tolist() for part in value.tried]).of(1)
    return torch.tensor(sizes, dtype=first.dtype).reshape(first.shape)


def _place(name: str) -> tuple[int, ...]:
    """Steps are numbered in order."""
    return tuple(int(part) for part in name.split(":")) if ":" in name else (-1,)


def _inputs(group: Group) -> list[str]:
    """What a group reads from outside, each once."""
    own = {name for member in group.members for name in member.output}
    return list(dict.fromkeys(name for member in group.members for name in member.input if name and name not in own))


def _run_alone(
    opset: int, group: Group, feeds: dict[str, NDArray[Any]], outputs: list[str]
) -> list[NDArray[Any]] | None:
    """A group as a model of its own; None where the runtime does not take it so."""
    typed = {name: _ELEMENTS[torch.from_numpy(np.empty(0, value.dtype)).dtype] for name, value in feeds.items()}
    graph = helper.make_graph(
        _in_order(group),
        "one operator",
        [helper.make_tensor_value_info(name, kind, feeds[name].shape) for name, kind in typed.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=helper.find_min_ir_version_for(versions, True))
    try:
        return [np.asarray(part) for part in _session(model.SerializeToString(), exact=True).run(None, feeds)]
    except Exception:  # onnxruntime's exceptions have no public base class
        return None


def _in_order(group: Group) -> list[Any]:
    """Each member behind those that it reads."""
    left, ordered = list(group.members), list[Any]()
    while left:
        waiting = {name for member in left for name in member.output}
        ready = [member for member in left if not waiting.intersection(member.input)]
        ordered += ready
        left = [member for member in left if member not in ready]
    return ordered


def _as_run(file: OnnxFile) -> str | bytes:
    """The file itself; of one with outputs inside, what these need."""
    return reduced(file.path, file.nodes, file.results) if file.inner else str(file.path)


def _compare_outputs(imported: Imported, found: tuple[Tensor, ...], wanted: list[NDArray[Any]]) -> float:
    """The largest relative difference of an output."""
    worst = 0.0
    for name, tensor, answer in zip(imported.file.results, found, wanted, strict=True):
        difference = relative_difference(tensor.numpy(), answer)
        if not difference <= TOLERANCE:
            many = f"{len(tensor)} images at once" if len(tensor) > 1 else "an image"
            raise UserError(
                f"{imported.file.path}: for {many} output '{name}' is not what ONNX Runtime computes (it differs by"
                f" {difference:.1e} of its largest number); export the network with a free batch"
                " (dynamic_axes={'input': {0: 'batch'}}), and report the file if that does not help"
            )
        worst = max(worst, difference)
    return worst


def _session(model: str | bytes, exact: bool, folder: Path | None = None) -> Any:
    """folder: where tensors lie that are not in the model."""
    import onnxruntime

    options = plain_options(1 if exact else 0)
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of every weight
    if folder is not None and isinstance(model, bytes):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
