"""A network made of an ONNX graph: its layers are modules, and its steps run in the file's order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from genq_export.network.outputs import Answer, as_answer


@dataclass(frozen=True)
class Sizes:
    """Integers, of which some grow with the number of images: offset + factor * images."""

    offset: tuple[int, ...]
    factor: tuple[int, ...]

    def of(self, images: int) -> list[int]:
        """The integers for a number of images, which may be a symbol while the network is traced."""
        return [a + b * images if b else a for a, b in zip(self.offset, self.factor, strict=True)]


@dataclass(frozen=True)
class Step:
    """One call of a module.

    module: its path. reads: names of values, or sizes. gives: names of what it returns. frees: values that nobody reads
    afterwards.
    """

    module: str
    reads: tuple[str | Sizes, ...]
    gives: tuple[str, ...]
    frees: tuple[str, ...] = ()


class Operator(nn.Module):
    """A function of tensors as a part of a network."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        """What the function gives."""
        return self.function(*arguments)


class OnnxNetwork(nn.Module):
    """Takes float32 [B, *input_size] for any B, and gives the file's outputs by name; [B, numbers] alone as a tensor.

    `assemble.assemble` fills it with modules, parameters and steps. attention: paths of the modules that give
    `attention @ V` (`tokens`). num_prefix_tokens: class tokens and others in front of those of the image.
    free_axes: may images of other heights, or widths, be taken by the file? `at` makes the network for them.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.steps: tuple[Step, ...] = ()
        self.constants: dict[str, str] = {}
        self.results: tuple[str, ...] = ()
        self.attention: tuple[str, ...] = ()
        self.num_prefix_tokens = 0
        self.names: tuple[str, ...] = ()
        self.inner = False
        self.free_axes = (False, False)
        self.at: Callable[[tuple[int, int, int]], nn.Module] | None = None

    def for_size(self, size: tuple[int, int, int]) -> nn.Module:
        """The network for images of another size, as the file says it for them."""
        return self if self.at is None else self.at(size)

    def forward(self, images: Tensor) -> Answer:
        """One tensor for each output of the file."""
        named = dict(zip(self.names, self.run(images), strict=True))
        return named if self.inner else as_answer(named)

    def run(self, images: Tensor, watch: Callable[[str, Tensor], None] | None = None) -> tuple[Tensor, ...]:
        """As `forward`, as a tuple in the order of the file.

        Args:
            images: float32 [B, *input_size].
            watch: told the name and the value of every tensor that is computed, in order.
        """
        values: dict[str, Any] = {self.source: images}
        for name, path in self.constants.items():
            values[name] = _attribute(self, path)
        for step in self.steps:
            read = [part.of(images.shape[0]) if isinstance(part, Sizes) else values[part] for part in step.reads]
            found = self.get_submodule(step.module)(*read)
            for name, value in zip(step.gives, found if len(step.gives) > 1 else (found,), strict=True):
                values[name] = value
                if watch is not None:
                    watch(name, value)
            for name in step.frees:
                del values[name]
        return tuple(values[name] for name in self.results)


def _attribute(module: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(module.get_submodule(parent), name)
