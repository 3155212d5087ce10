"""From an ONNX graph to a network: every operator translated, what does not depend on pixels computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from genq_export.core.errors import UserError, reason_of
from genq_export.core.registry import resolve
from genq_export.models.onnx_import.groups import Group, grouped
from genq_export.models.onnx_import.network import OnnxNetwork, Operator, Sizes, Step
from genq_export.models.onnx_import.node import Argument, Node
from genq_export.models.onnx_import.operators import OPERATORS
from genq_export.models.onnx_import.reading import OnnxFile
from genq_export.models.onnx_import.tokens import attention_products, prefix_tokens
from genq_export.models.onnx_import.tree import Tree
from genq_export.models.onnx_import.values import IMAGES, AsSizes, Value, line

_MOST_NUMBERS = 2**30  # of one tensor, for the images that are tried


@dataclass(frozen=True, eq=False)
class Imported:
    """A network made of a file.

    groups: the file's nodes that it computes. values: what is known of the file's tensors; `OnnxNetwork.run` calls one
    by the name of its value. channels_last: the file takes [B, H, W, C]. shapes: of its outputs, for any number of
    images.
    """

    file: OnnxFile
    network: OnnxNetwork
    groups: tuple[Group, ...]
    values: dict[str, Value]
    channels_last: bool
    shapes: dict[str, Sizes]


def assemble(file: OnnxFile, input_size: tuple[int, int, int], channels_last: bool = False) -> Imported:
    """Make a network of a file for images of one size.

    Args:
        file: as `read_file` gives it.
        input_size: (channels, height, width).
        channels_last: the file takes [B, H, W, C]; the network takes [B, C, H, W] all the same.

    Raises:
        UserError: with the node, where it holds an operator or a use of one that is not taken.
    """
    return _Assembly(file).run(input_size, channels_last)


class _Assembly:
    """Follows the graph once. It is the `Emitter` of the nodes that are translated."""

    def __init__(self, file: OnnxFile) -> None:
        self.opset, self.fixed_batch = file.opset, file.shape[0] == 1
        self._file = file
        self._network = OnnxNetwork(file.source)
        self._tree = Tree(self._network)
        self._values: dict[str, Value] = {}
        self._steps: list[Step] = []
        self._stored: dict[int, tuple[str, Value]] = {}

    def run(self, input_size: tuple[int, int, int], channels_last: bool) -> Imported:
        """Translate every node."""
        groups = grouped(self._file)
        with torch.no_grad():
            self._values[self._file.source] = self._images(input_size, channels_last)
            computed = [group for group in groups if self._translate(group)]
            results = [self._value(name) for name in self._file.results]
            self._network.results = tuple(self._read(value) for value in results)
            self._network.names, self._network.inner = self._file.results, self._file.inner
        shapes = {name: self._shape(name, value) for name, value in zip(self._file.results, results, strict=True)}
        self._network.steps = _freed(self._steps, self._network.results)
        known = {value.name: value.shape for value in self._values.values() if not value.known}
        self._network.attention = attention_products(self._network, known)
        self._network.num_prefix_tokens = prefix_tokens(self._network, known)
        return Imported(self._file, self._network.eval(), tuple(computed), self._values, channels_last, shapes)

    def _images(self, input_size: tuple[int, int, int], channels_last: bool) -> Value:
        tried = tuple(torch.empty(count, *input_size, device="meta") for count in IMAGES)
        images = Value(self._file.source, tried)
        if not channels_last:
            return images
        return self.emit("channels_last", Operator(lambda x: x.permute(0, 2, 3, 1)), [images], 1)[0]

    def _shape(self, name: str, value: Value) -> Sizes:
        sizes = value.shape_sizes()
        if not sizes.factor or sizes.offset[0] != 0 or sizes.factor[0] != 1 or any(sizes.factor[1:]):
            raise UserError(
                f"{self._file.path}: the first axis of output '{name}' does not count images; export the network with a"
                " free batch (dynamic_axes={'input': {0: 'batch'}})"
            )
        return sizes

    def _translate(self, group: Group) -> bool:
        """Put the modules of a group into the network; was there anything to compute?"""
        inputs = [self._value(name) if name else None for name in group.node.input]
        node = Node(group.node, inputs, self)
        path = OPERATORS.get(group.node.op_type)
        if path is None:
            raise self._refused(node.refuse("an operator that is not taken"))
        before = len(self._steps)
        try:
            results = resolve(path)(node)
        except UserError as error:
            raise self._refused(error) from None
        except Exception as error:  # shapes that do not fit, attributes of the wrong kind: torch's and Python's errors
            raise self._refused(node.refuse(f"cannot be computed ({reason_of(error)})")) from None
        given = results if isinstance(results, list) else [results]
        for name, value in zip(group.node.output, given, strict=False):
            self._values[name] = value
        missing = [name for name in group.node.output[len(given) :] if name and name in self._wanted()]
        if missing:
            raise self._refused(node.refuse(f"its output '{missing[0]}' is not taken"))
        return len(self._steps) > before

    def _wanted(self) -> set[str]:
        return {name for node in self._file.nodes for name in node.input} | set(self._file.results)

    def _refused(self, error: UserError) -> UserError:
        return UserError(f"{self._file.path}: {error}")

    def _value(self, name: str) -> Value:
        if name not in self._values:
            tensor = self._file.tensors[name]
            weight = tensor.is_floating_point() and (name not in self._file.literals or tensor.numel() > 1)
            kept = nn.Parameter(tensor) if weight else tensor
            self._values[name] = Value(name, (kept,) * len(IMAGES), known=True, weight=weight)
        return self._values[name]

    def weight_name(self, value: Value) -> str:
        """A weight keeps its name where its numbers are only moved."""
        return value.name if value.weight else ""

    def emit(
        self, path: str, module: nn.Module, arguments: Sequence[Argument], results: int, moves: bool = False
    ) -> list[Value]:
        """Compute now what can be; else place the module and a step that calls it."""
        values = [part.value if isinstance(part, AsSizes) else part for part in arguments]
        known = all(not isinstance(part, Value) or part.known for part in values)
        weights = [part for part in values if isinstance(part, Value) and part.weight]
        tried = [_tried(module, arguments, index) for index in range(len(IMAGES))]
        if known and (moves or not weights):
            return self._computed(module, arguments, results, weights)
        reads = tuple(self._argument(part) for part in arguments)
        given = [f"{len(self._steps)}:{index}" for index in range(results)]
        self._steps.append(Step(self._tree.place(path, module), reads, tuple(given)))
        by_result = zip(*(part if results > 1 else (part,) for part in tried), strict=True)
        return [Value(name, tuple(part)) for name, part in zip(given, by_result, strict=True)]

    def _computed(
        self, module: nn.Module, arguments: Sequence[Argument], results: int, weights: list[Value]
    ) -> list[Value]:
        found = []
        for index in range(len(IMAGES)):
            result = module(*(_given(part, index) for part in arguments))
            found.append(result if results > 1 else (result,))
        name = weights[0].name if weights else ""
        made = []
        for part in zip(*found, strict=True):
            kept = (nn.Parameter(part[0].contiguous()),) * len(IMAGES) if weights else tuple(part)
            made.append(Value(name, kept, known=True, weight=bool(weights)))
        return made

    def _argument(self, part: Argument) -> str | Sizes:
        if isinstance(part, Sizes):
            return part
        return part.sizes() if isinstance(part, AsSizes) else self._read(part)

    def _read(self, value: Value) -> str:
        """The name by which a step reads a value; what is known becomes a parameter or a buffer."""
        if not value.known:
            return value.name
        if id(value.tried[0]) not in self._stored:
            self._stored[id(value.tried[0])] = (self._store(value), value)
        return self._stored[id(value.tried[0])][0]

    def _store(self, value: Value) -> str:
        tensor, name = value.tried[0], f"constant {len(self._stored)}"
        if not value.fixed:
            return self._repeated(value)
        kept = tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()
        self._network.constants[name] = self._tree.place(value.name or "constant", kept)
        return name

    def _repeated(self, value: Value) -> str:
        """A known tensor of one row for every image."""
        row = value.tried[0][:1] if value.rank else value.tried[0]
        shape = line([list(tensor.shape) for tensor in value.tried])
        if not value.rank or not all(bool((tensor == row).all()) for tensor in value.tried) or any(shape.factor[1:]):
            raise ValueError("its numbers depend on the number of images: export the network for one image")
        one = Value(value.name, (row,) * len(IMAGES), known=True)
        source = self._read(one)
        given = f"{len(self._steps)}:0"
        place = self._tree.place("repeated", Operator(lambda x, sizes: x.expand(sizes)))
        self._steps.append(Step(place, (source, shape), (given,)))
        return given


def _tried(module: nn.Module, arguments: Sequence[Argument], index: int) -> Any:
    """What a call gives for one number of images, without computing it: shapes and types alone."""
    parts = [_given(part, index) for part in arguments]
    shapes = [part.to("meta") if isinstance(part, Tensor) else part for part in parts]
    state = {name: value.to("meta") for name, value in (*module.named_parameters(), *module.named_buffers())}
    with torch.device("meta"):
        found = functional_call(module, state, tuple(shapes))
    for tensor in found if isinstance(found, list | tuple) else (found,):
        if tensor.numel() > _MOST_NUMBERS:
            raise ValueError(f"it gives {'x'.join(map(str, tensor.shape))} numbers, which is too large")
    return found


def _given(part: Argument, index: int) -> Tensor | list[int]:
    """What a call takes for one of the numbers of images that are tried."""
    if isinstance(part, Sizes):
        return part.of(IMAGES[index])
    return part.tried(index) if isinstance(part, AsSizes) else part.tried[index]


def _freed(steps: list[Step], results: tuple[str, ...]) -> tuple[Step, ...]:
    """The steps that something reads, each with the values that nothing reads after it."""
    kept: list[Step] = []
    alive = set(results)
    for step in reversed(steps):
        if not alive.intersection(step.gives):
            continue
        reads = {part for part in step.reads if isinstance(part, str)}
        frees = [name for name in (*dict.fromkeys((*step.gives, *sorted(reads))),) if name not in alive]
        alive |= reads
        own = tuple(name for name in frees if ":" in name)
        kept.append(Step(step.module, step.reads, step.gives, own))
    return tuple(kept[::-1])
