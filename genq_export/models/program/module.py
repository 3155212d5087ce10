"""A program as a module: its tensors under their own names, its steps run one by one, BatchNorm as modules of torch."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from genq_export.core.errors import UserError
from genq_export.models.program.archive import Archive
from genq_export.models.program.operators import ASSERTIONS, BATCH_NORM
from genq_export.models.program.steps import Ref, Step
from genq_export.network.outputs import Answer, as_answer

_SPECS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_PATH = re.compile(r"\w+(\.\w+)*")


class Part(nn.Module):
    """A module of the network by its path: runs the operators that came from it, so that they keep their names."""

    def forward(self, step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call the step's operator."""
        return step.function(*args, **kwargs)


class ProgramModule(Part):
    """float32 [B, C, H, W] -> what the program gives.

    Args:
        archive: tensors.
        tensors: the path of the tensor that an input of the graph stands for, by name of the input.
        steps: in order.
        user_input: name of the image.
        outputs: names of the results in the graph, by the names that they go by.
    """

    def __init__(
        self,
        archive: Archive,
        tensors: Mapping[str, str],
        steps: list[Step],
        user_input: str,
        outputs: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._tensors, self._input, self._outputs = tensors, user_input, dict(outputs)
        norms = _norms(steps, tensors, archive)
        for path, norm in norms.items():
            self._place(path, norm)
        for path in tensors.values():
            if path.rpartition(".")[0] not in norms:
                self._hold(path, archive.tensors[path], path in archive.parameters)
        self._steps = [_on_parts(self, step, tensors, norms) for step in steps if step.name not in ASSERTIONS]
        self._last_read = {name: number for number, step in enumerate(self._steps) for name in step.refs()}

    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        """Run every step; a value is dropped behind the last one that reads it."""
        values: dict[str, Any] = {self._input: x}
        kept = {*self._outputs.values()}
        for number, step in enumerate(self._steps):
            args = tuple(self._value(value, values) for value in step.args)
            kwargs = {key: self._value(value, values) for key, value in step.kwargs.items()}
            self._keep(step, self._called(step, args, kwargs), values)
            for name in set(step.refs()):
                if self._last_read[name] == number and name not in kept:
                    values.pop(name, None)
        found = {name: values[place] for name, place in self._outputs.items()}
        return as_answer(found)

    def _called(self, step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        part = self.get_submodule(step.path) if step.path else self
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            return part(args[0])
        return step.function(*args, **kwargs) if part is self else part(step, args, kwargs)

    def _value(self, value: Any, values: Mapping[str, Any]) -> Any:
        if isinstance(value, list):
            return [self._value(part, values) for part in value]
        if not isinstance(value, Ref):
            return value
        return self._tensor(self._tensors[value.name]) if value.name in self._tensors else values[value.name]

    def _tensor(self, path: str) -> Tensor | None:
        """By the tables of modules: a name may be that of a method."""
        folder, _, name = path.rpartition(".")
        part = self.get_submodule(folder)
        return part._parameters[name] if name in part._parameters else part._buffers[name]

    def _keep(self, step: Step, given: Any, values: dict[str, Any]) -> None:
        if isinstance(step.outputs, str):
            values[step.outputs] = given
            return
        several = given if isinstance(given, tuple | list) else (given,)
        values |= {name: value for name, value in zip(step.outputs, several, strict=False) if name}

    def _hold(self, path: str, tensor: Tensor, is_parameter: bool) -> None:
        folder, _, name = path.rpartition(".")
        part = self._part(folder)
        if is_parameter and tensor.is_floating_point():
            part.register_parameter(name, nn.Parameter(tensor))
        else:
            part.register_buffer(name, tensor)

    def _part(self, path: str) -> nn.Module:
        """The part at a path, made with those above it where it is not there."""
        if not path:
            return self
        folder, _, name = path.rpartition(".")
        above = self._part(folder)
        if name not in above._modules:
            above.add_module(name, Part())
        return above._modules[name]  # type: ignore[return-value]

    def _place(self, path: str, module: nn.Module) -> None:
        folder, _, name = path.rpartition(".")
        self._part(folder).add_module(name, module)


def tensor_paths(signature: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Paths of tensors by the name of the graph's input, and the names of the user's own inputs.

    Raises:
        UserError: where it takes what is no tensor of the network and no image.
    """
    tensors, users = dict[str, str](), list[str]()
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        if kind in _SPECS:
            path = str(content[_SPECS[kind]])
            if not _PATH.fullmatch(path):
                raise ValueError(f"'{path[:60]}' names no tensor")
            tensors[str(content["arg"]["name"])] = path
        elif kind == "user_input" and "as_tensor" in content["arg"]:
            users.append(str(content["arg"]["as_tensor"]["name"]))
        else:
            raise UserError(f"it takes an input of kind {kind}: a network takes one batch of images")
    return tensors, users


def _norms(steps: list[Step], tensors: Mapping[str, str], archive: Archive) -> dict[str, nn.Module]:
    """BatchNorm modules by the path of their statistics."""
    found = dict[str, nn.Module]()
    for step in steps:
        if step.name in BATCH_NORM:
            path, held = _norm_tensors(step, tensors)
            ranks = _NORMS.get(_rank(archive, step), nn.BatchNorm2d)
            mean = archive.tensors[held["running_mean"]]
            epsilon = float(step.args[BATCH_NORM[step.name]])
            norm = ranks(len(mean), eps=epsilon, affine=held["weight"] is not None)
            for name, place in held.items():
                if place is not None:
                    getattr(norm, name).data = archive.tensors[place].float()
            found[path] = norm.eval()
    return found


def _norm_tensors(step: Step, tensors: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    names = ("weight", "bias", "running_mean", "running_var")
    held = {
        name: tensors[value.name] if isinstance(value, Ref) else None
        for name, value in zip(names, step.args[1:5], strict=True)
    }
    if held["running_mean"] is None:
        raise UserError("a BatchNorm of the program has no statistics of its own, which cannot be quantized")
    path = str(held["running_mean"]).rpartition(".")[0]
    if any(place not in (None, f"{path}.{name}") for name, place in held.items()):
        raise UserError(f"the BatchNorm '{path}' of the program takes tensors of another module")
    return path, held


def _rank(archive: Archive, step: Step) -> int:
    meta = archive.graph_module["graph"]["tensor_values"].get(step.args[0].name, {})
    return len(meta.get("sizes", ()))


def _on_parts(root: ProgramModule, step: Step, tensors: Mapping[str, str], norms: Mapping[str, nn.Module]) -> Step:
    """The step, at a path where the module has a part."""
    if step.name in BATCH_NORM:
        path = _norm_tensors(step, tensors)[0]
        outputs = step.outputs if isinstance(step.outputs, str) else step.outputs[0] or ""
        return replace(step, path=path, outputs=outputs)
    if step.path:
        root._part(step.path)
    below_norm = any(step.path == path or step.path.startswith(f"{path}.") for path in norms)
    return replace(step, path="") if below_norm else step
