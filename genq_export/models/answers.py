"""What a network gives, found by trying it once, on an image of zeros, when it is loaded."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genq_export.core.errors import UserError, reason_of
from genq_export.network.outputs import LOGITS, MOST_OUTPUTS, is_output_name, output_names

if TYPE_CHECKING:
    from torch import Tensor, nn

_FROM_PICTURES = (1, 3)  # channels: grey, and colours
_SHOWN = 6
_ALONE = "output"  # a single tensor that is no logits


@dataclass(frozen=True)
class Tried:
    """A network that gives logits as a tensor and anything else by name.

    module: in eval mode. shapes: of its outputs for one image, without the batch, by name. inner: some are computed
    inside the network. notes: what was left out.
    """

    module: "nn.Module"
    shapes: dict[str, tuple[int, ...]]
    inner: bool = False
    notes: tuple[str, ...] = ()


def classes_of(name: str, module: "nn.Module", input_size: tuple[int, int, int]) -> int:
    """Return how many logits the network gives for an image; 0 where it gives something else.

    Raises:
        UserError: where it takes no pictures of this size.
    """
    answer = _answer(name, module, input_size)
    return int(answer.shape[1]) if _is_logits(answer) else 0


def tried(
    name: str, module: "nn.Module", input_size: tuple[int, int, int], wanted: Sequence[str] | None = None
) -> Tried:
    """Find what a network gives for one image, and have it give that by name.

    Args:
        name: what messages call the network.
        module: in eval mode.
        input_size: (channels, height, width).
        wanted: names of outputs, or paths of modules inside whose results become outputs; None: all that it returns.

    Raises:
        UserError: where it takes no pictures of this size, or gives no float tensor with a row for each image.
    """
    from genq_export.models.named_outputs import InnerOutputs, NamedOutputs

    answer = _answer(name, module, input_size)
    if wanted is None and _is_logits(answer):
        return Tried(module, {LOGITS: tuple(answer.shape[1:])})
    if wanted is None and _is_by_name(answer):
        return Tried(module, {output: tuple(tensor.shape[1:]) for output, tensor in answer.items()})
    own = {called(path) for path, _ in tensors_of(answer)}
    inner = [path for path in wanted or () if path not in own]
    if inner:
        _check_paths(name, module, inner, own)
        module = InnerOutputs(module, inner)
        answer = _answer(name, module, input_size)
    found = {path: tensor for path, tensor in tensors_of(answer) if wanted is None or called(path) in wanted}
    taken, notes = _taken(name, found)
    names = dict(zip(output_names({called(path): path for path in taken}), taken, strict=True))
    if wanted is None and len(taken) == 1 and _is_logits(next(iter(taken.values()))):
        names = {LOGITS: next(iter(taken))}
    shapes = {output: tuple(taken[path].shape[1:]) for output, path in names.items()}
    return Tried(NamedOutputs(module, names), shapes, bool(inner), notes)


def tensors_of(answer: Any, path: tuple[Any, ...] = ()) -> "Iterator[tuple[tuple[Any, ...], Tensor]]":
    """Every tensor in what a network returns, with the keys and places that lead to it."""
    import torch

    if isinstance(answer, torch.Tensor):
        yield path, answer
    elif isinstance(answer, Mapping):
        for key, part in answer.items():
            yield from tensors_of(part, (*path, key))
    elif isinstance(answer, list | tuple):
        for place, part in enumerate(answer):
            yield from tensors_of(part, (*path, place))


def called(path: tuple[Any, ...]) -> str:
    """The name of a tensor by what leads to it: `boxes`, `aux.0`, `output_1` of a plain tuple."""
    keys = [str(key) for key in path if key != ""]
    name = ".".join(keys) or _ALONE
    return f"{_ALONE}_{name}" if name[0].isdigit() else name


def _answer(name: str, module: "nn.Module", input_size: tuple[int, int, int]) -> Any:
    import torch

    if input_size[0] not in _FROM_PICTURES:
        raise UserError(
            f"{name} takes images of {input_size[0]} channels: calibration and evaluation images are pictures of 1"
            " (grey) or 3 (RGB), give a network for these"
        )
    shape = (1, *input_size)
    try:
        with torch.no_grad():
            return module(torch.zeros(shape))
    except Exception as error:  # whatever the network's code raises
        raise UserError(
            f"{name} does not take an input of {list(shape)}: {reason_of(error)[:200]}; say what it takes with"
            " --input-size"
        ) from None


def _is_logits(answer: Any) -> bool:
    import torch

    is_vector = isinstance(answer, torch.Tensor) and answer.ndim == 2 and answer.shape[0] == 1
    return is_vector and answer.is_floating_point()


def _is_by_name(answer: Any) -> bool:
    """Is this what a network of ours gives?"""
    import torch

    if not isinstance(answer, dict) or not 0 < len(answer) <= MOST_OUTPUTS or list(answer) == [LOGITS]:
        return False
    tensors = [part for part in answer.values() if isinstance(part, torch.Tensor) and part.is_floating_point()]
    names = all(map(is_output_name, answer)) and len({*map(id, tensors)}) == len(answer)
    return names and all(tensor.ndim > 1 and tensor.shape[0] == 1 and tensor.numel() for tensor in tensors)


def _taken(
    name: str, found: "Mapping[tuple[Any, ...], Tensor]"
) -> "tuple[dict[tuple[Any, ...], Tensor], tuple[str, ...]]":
    """The tensors that can be outputs, each once, and what is said of the others."""
    kinds = {path: str(tensor.dtype).removeprefix("torch.") for path, tensor in found.items()}
    counts = [called(path) for path, tensor in found.items() if not tensor.is_floating_point()]
    floats = {path: tensor for path, tensor in found.items() if tensor.is_floating_point()}
    once = {id(tensor): path for path, tensor in reversed(floats.items())}
    taken = {path: tensor for path, tensor in floats.items() if once[id(tensor)] == path}
    if not taken:
        what = ", ".join(f"{kinds[path]} {list(tensor.shape)}" for path, tensor in found.items()) or "no tensor"
        raise UserError(f"{name} returns {what} for one image: a network has to give at least one float tensor")
    if len(taken) > MOST_OUTPUTS:
        raise UserError(
            f"{name} gives {len(taken)} tensors, {MOST_OUTPUTS} at most are taken: name some with --outputs"
        )
    for path, tensor in taken.items():
        if tensor.ndim < 1 or tensor.shape[0] != 1 or 0 in tensor.shape:
            others = " or leave it out with --outputs" if len(taken) > 1 else ""
            raise UserError(
                f"{name}: its output '{called(path)}' is {list(tensor.shape)} for one image, whose first axis is not"
                f" that of the images: change the network{others}"
            )
    notes = (f"{name}: integers are no outputs of a deployed file: left out {_listed(counts)}",) if counts else ()
    return taken, notes


def _check_paths(name: str, module: "nn.Module", paths: Sequence[str], own: "set[str]") -> None:
    known = {path for path, _ in module.named_modules() if path}
    for path in paths:
        if path not in known:
            near = difflib.get_close_matches(path, known, n=_SHOWN, cutoff=0.3)
            modules = near or sorted(known, key=lambda each: (each.count("."), each))
            raise UserError(
                f"{name} has no output and no module '{path}': its outputs are {_listed(sorted(own))}, modules"
                f" {_listed(modules)}"
            )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
