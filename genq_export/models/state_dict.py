"""Weights by name: taken out of what people save around them, fitted to a network's own names, and checked.

All of it is pure: files are opened in `genq_export.models.checkpoint`. What was decided on the way is kept as notes.
"""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from genq_export.core.errors import UserError
from genq_export.data.account import counted, listed
from genq_export.models.reparametrized import joined

if TYPE_CHECKING:
    from torch import Tensor, nn

# timm, torchvision's references, Lightning, MMEngine and others by the words that they use.
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema", "params_ema")
_WEIGHTS = ("state_dict", "model_state_dict", "model", "network", "net", "weights", "params", "module", "model_state")
# What wrappers put between a network's names: torch.compile, FSDP, activation checkpointing.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_DEEPEST = 8
_COUNTER = "num_batches_tracked"  # is read in training only


class StandIn:
    """In the place of an object that a file wants to be made by code; its content is not kept."""

    wanted = "an object"

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


@dataclass(frozen=True)
class StateDict:
    """Tensors by name as a file has them. source: what messages call the file. notes: what was decided."""

    source: str
    tensors: "Mapping[str, Tensor]"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """A state dict under the names of a network.

    tensors: of both. missing: names only of the network. unknown: names only of the file. misshapen: names of both
    whose shapes differ.
    """

    source: str
    tensors: "Mapping[str, Tensor]"
    expected: "Mapping[str, Tensor]"
    unknown: "Mapping[str, Tensor]"
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(init=False)
    misshapen: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        missing = (name for name in self.expected if name not in self.tensors and _part(name) != _COUNTER)
        object.__setattr__(self, "missing", tuple(missing))
        both = (name for name in self.expected if name in self.tensors)
        differ = (name for name in both if self.tensors[name].shape != self.expected[name].shape)
        object.__setattr__(self, "misshapen", tuple(differ))


def state_dict_of(content: object, source: str) -> StateDict:
    """Find the weights in what a file holds: averaged ones (EMA) before others, as timm does.

    Raises:
        UserError: where there are none, or several and no word says which are meant.
    """
    place: list[str] = []
    notes: list[str] = []
    while (key := _next(content, source)) is not None:
        assert isinstance(content, Mapping)
        if key in _AVERAGED and any(_holds_tensors(content.get(other)) for other in _WEIGHTS):
            notes.append(f"the averaged weights '{key}' were taken, as timm does, not those beside them")
        elif key not in (*_AVERAGED, *_WEIGHTS):
            notes.append(f"the weights under '{key}' were taken")
        content = content[key]
        place.append(key)
        if len(place) > _DEEPEST:
            raise UserError(f"{source} holds no weights: it is nested deeper than checkpoints are")
    assert isinstance(content, Mapping)
    return StateDict(source, _tensors(content, source), tuple(notes))


def fitted(state: StateDict, network: "nn.Module") -> Fit:
    """Give tensors the network's own names: prefixes go where the rest then fits.

    What a file has beside the network (the weights of a loss, a second tower) is left out and said; so are buffers
    that the network makes itself.

    Raises:
        UserError: where the network is there several times.
    """
    expected = network.state_dict()
    made = {name for name, _ in network.named_buffers()} - set(expected)
    tensors = {_unwrapped(name): tensor for name, tensor in state.tensors.items()}
    prefix = _prefix(tensors, expected, state.source)
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    own, put_together = joined(own, expected)
    notes = [*state.notes, *_prefix_notes(state, tensors, prefix), *put_together]
    unknown = {
        name: tensor
        for name, tensor in own.items()
        if name not in expected and name not in made and _part(name) != _COUNTER
    }
    known = {name: tensor for name, tensor in own.items() if name in expected}
    return Fit(state.source, known, expected, unknown, tuple(notes))


def load(fit: Fit, network: "nn.Module") -> tuple[str, ...]:
    """Put every tensor into the network, in its own dtypes, or none; returns what there is to say of it.

    Parameters and the statistics of BatchNorm must be finite; other buffers need not be (attention masks hold -inf).

    Raises:
        UserError: names a tensor that is missing, unknown, of another shape or kind, or damaged.
    """
    _check_names(fit)
    learned = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    found = {}
    for name, tensor in fit.tensors.items():
        found[name] = _converted(name, tensor, fit.expected[name], fit.source)
        if name in learned or _part(name) in ("running_mean", "running_var"):
            _check_values(name, found[name], fit.source)
    network.load_state_dict(dict(fit.expected) | found)
    widths = Counter(str(tensor.dtype) for tensor in fit.tensors.values() if tensor.is_floating_point())
    others = [f"{width.removeprefix('torch.')} weights became float32" for width in widths if width != "torch.float32"]
    return (*fit.notes, *others)


def _next(content: object, source: str) -> str | None:
    """The key below which the weights lie; None where `content` is them."""
    if isinstance(content, StandIn):
        raise UserError(
            f"{source} holds a whole pickled module or object ({content.wanted}), which would run code: save its"
            " `.state_dict()`, best as .safetensors"
        )
    if not isinstance(content, Mapping):
        kind = "several objects" if isinstance(content, list | tuple) else f"a {type(content).__name__}"
        raise UserError(f"{source} holds {kind}, no weights by name: save the network's `.state_dict()`")
    for key in (*_AVERAGED, *_WEIGHTS):
        if _holds_tensors(content.get(key)):
            return key
    if any(isinstance(value, torch.Tensor) for value in content.values()) and not _is_optimizer(content):
        return None
    return _only_below(content, source)


def _only_below(content: Mapping[Any, Any], source: str) -> str:
    """The one key that has weights below it though its name is none that is known."""
    for key in (*_AVERAGED, *_WEIGHTS):
        if isinstance(content.get(key), StandIn):
            _next(content[key], source)
    below = [key for key, value in content.items() if _holds_tensors(value) and not _is_optimizer(value)]
    if len(below) == 1 and isinstance(below[0], str) and not _is_optimizer(content):
        return below[0]
    if len(below) > 1 and not _is_optimizer(content):
        raise UserError(f"{source} holds weights in several places, {listed(map(str, below))}: save the one to build")
    if _is_optimizer(content) or any(map(_is_optimizer, content.values())):
        raise UserError(f"{source} holds the state of an optimizer and no weights: give the network's checkpoint")
    raise UserError(f"{source} holds no state dict (names and tensors): save the network's `.state_dict()`")


def _holds_tensors(value: object, depth: int = 0) -> bool:
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return False
    inner = list(value.values())
    return any(isinstance(item, torch.Tensor) or _holds_tensors(item, depth + 1) for item in inner)


def _is_optimizer(value: object) -> bool:
    return isinstance(value, Mapping) and "param_groups" in value and "state" in value


def _tensors(content: Mapping[Any, Any], source: str) -> "dict[str, Tensor]":
    """Names and tensors; numbers and texts that stand among them are no weights."""
    names = [name for name in content if not isinstance(name, str)]
    if names:
        raise UserError(f"{source} has {names[0]!r} for the name of a tensor: save the network's `.state_dict()`")
    strange = next((name for name, value in content.items() if isinstance(value, StandIn)), None)
    if strange is not None:
        raise UserError(
            f"'{strange}' in {source} is no plain tensor ({content[strange].wanted}): gather or convert it, and save"
            " again"
        )
    return {name: value.detach() for name, value in content.items() if isinstance(value, torch.Tensor)}


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefix(tensors: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]", source: str) -> str:
    """What stands before the names of the network in the file: the prefix by which most of them are there."""
    ends = Counter(name.removesuffix(end) for name in tensors for end in _ends(name) if end in expected)
    most = max(ends.values(), default=0)
    if most < len(expected) // 3:  # another network: say what it has as the file says it
        return ""
    best = [prefix for prefix, count in ends.items() if count == most]
    if len(best) == 1:
        return best[0]
    averaged = [prefix for prefix in best if "ema" in prefix.lower().replace(".", "_").split("_")]
    if len(averaged) == 1:
        return averaged[0]
    towers = listed(prefix or "names without a prefix" for prefix in sorted(best))
    raise UserError(f"{source} holds the network {len(best)} times, {towers}: save the weights of the one to build")


def _ends(name: str) -> Iterator[str]:
    """`a.b.c`, `b.c`, `c`"""
    parts = name.split(".")
    return (".".join(parts[start:]) for start in range(len(parts)))


def _prefix_notes(state: StateDict, tensors: "Mapping[str, Tensor]", prefix: str) -> Iterator[str]:
    wrapped = next((part for name in state.tensors for part in name.split(".") if part in _WRAPPERS), None)
    if wrapped is not None:
        yield f"'{wrapped}' was taken out of the names"
    if prefix:
        yield f"the names' prefix '{prefix}' was taken off"
    left = [name for name in tensors if not name.startswith(prefix)]
    if left:
        yield f"{counted(len(left), 'tensor')} beside it not used ({listed(left)})"


def _check_names(fit: Fit) -> None:
    for name in fit.misshapen:
        found, wanted = tuple(fit.tensors[name].shape), tuple(fit.expected[name].shape)
        why = " (a part of a sharded run: gather the weights before saving)" if 0 in found else ""
        raise UserError(
            f"{fit.source} does not fit the network: '{name}' is {found} in the file and {wanted} in the"
            f" network{why} ({len(fit.misshapen)} such tensors)"
        )
    if fit.missing or fit.unknown:
        raise UserError(
            f"{fit.source} does not fit the network: {_detail(fit)} ({len(fit.missing)} missing,"
            f" {len(fit.unknown)} unknown)"
        )


def _detail(fit: Fit) -> str:
    """The first tensor that does not fit, and the one on the other side that may be meant."""
    if not fit.missing:
        name = next(iter(fit.unknown))
        near = _nearest(name, fit.unknown[name], fit.expected)
        return f"unknown '{name}'{near and f', the network has {near}'}"
    name = fit.missing[0]
    near = _nearest(name, fit.expected[name], fit.unknown)
    return f"missing '{name}'{near and f', the file has {near}'}"


def _nearest(name: str, tensor: "Tensor", others: "Mapping[str, Tensor]") -> str:
    alike = [other for other in others if others[other].shape == tensor.shape and _part(other) == _part(name)]
    close = difflib.get_close_matches(name, alike or others, n=1, cutoff=0.0 if len(alike) == 1 else 0.6)
    return f"'{close[0]}'" if close else ""


def _converted(name: str, tensor: "Tensor", wanted: "Tensor", source: str) -> "Tensor":
    """A plain tensor in the dtype that the network has.

    Raises UserError where that would change what kind of number it is.
    """
    kind = _strange(tensor)
    if kind is None and tensor.is_floating_point() != wanted.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
    if kind is None and (tensor.dtype == torch.bool) != (wanted.dtype == torch.bool):
        kind = "boolean"
    if kind is not None:
        raise UserError(
            f"'{name}' in {source} is {kind}, the network has {str(wanted.dtype).removeprefix('torch.')}: give the"
            " checkpoint at full precision"
        )
    return tensor.to(wanted.dtype)


def _strange(tensor: "Tensor") -> str | None:
    """What a tensor is that is not simply an array of real numbers; None for one that is."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_complex():
        return "complex"
    if tensor.device.type == "meta":
        return "without content (on the meta device)"
    return None


def _check_values(name: str, tensor: "Tensor", source: str) -> None:
    finite = torch.isfinite(tensor)
    if not finite.all():
        count = int((~finite).sum())
        raise UserError(
            f"'{name}' in {source} holds {count:,} of {tensor.numel():,} values that are NaN or infinite: the training"
            " diverged or the file is damaged, give an earlier checkpoint"
        )
    if _part(name) == "running_var" and (tensor < 0).any():
        raise UserError(
            f"'{name}' in {source} holds a negative variance ({float(tensor.min()):.3g}): the file is damaged, give"
            " another checkpoint"
        )


def _part(name: str) -> str:
    return name.rpartition(".")[2]
