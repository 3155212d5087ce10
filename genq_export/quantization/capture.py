"""From a network to a graph of ATen operators: tracing, and what may go wrong with it.

`torch.export` gives residual additions, concatenations and attention products as nodes, and every node's
`nn_module_stack` says which module of the network it came from. So nothing here knows any architecture.
"""

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from genq_export.core.errors import UserError, reason_of
from genq_export.network.aten import is_constant
from genq_export.network.outputs import by_name
from genq_export.quantization.large_blocks import numbers_of
from genq_export.quantization.simplify import simplify

_FUSED = "fused_attn"  # timm's switch


def capture(module: nn.Module, input_size: tuple[int, int, int]) -> fx.GraphModule:
    """Trace a float32 network in eval mode, with a free batch size, and simplify its graph.

    Its output is one node where the network gives a tensor, and nodes by name where it gives a dictionary. It computes
    what the network computes; it has no BatchNorm behind a convolution, no in-place operator and no dropout, and what
    does not depend on the input is a constant in it. The network given stays as it is.

    Raises:
        UserError: naming the module and the line which cannot be traced, an output that no image decides, or a
            checkpoint that is damaged.
    """
    _check_finite(module)
    with _attention_in_parts(module), _lengths_as_symbols(module):
        captured = _traced(module, torch.zeros(2, *input_size))
        simplify(captured)
        _check_same(module, captured, input_size)
    return captured


def _check_finite(module: nn.Module) -> None:
    """Numbers of a checkpoint are finite; a table of the network's own may hold infinity, as masks and limits do."""
    learned = {name for name, _ in module.named_parameters()}
    for name, value in module.state_dict().items():
        measured = name.endswith(("running_mean", "running_var"))
        damaged = ~torch.isfinite(value) if name in learned or measured else torch.isnan(value)
        if damaged.any():
            raise UserError(f"the network's '{name}' holds NaN or infinity: its checkpoint is damaged")


@contextmanager
def _attention_in_parts(module: nn.Module) -> Iterator[None]:
    """Let the network compute attention in two products, which the fused operator hides; then as it did before."""
    switched = [(part, getattr(part, _FUSED)) for part in module.modules() if hasattr(part, _FUSED)]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for part, _ in switched:
            setattr(part, _FUSED, False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, fused in switched:
            setattr(part, _FUSED, fused)


@contextmanager
def _lengths_as_symbols(module: nn.Module) -> Iterator[None]:
    """`len(x)` of a tensor has to be a plain number: let the network's code read a `len` that gives `x.shape[0]`."""
    names = {type(part).__module__ for part in module.modules()} - {nn.Module.__module__}
    files = [vars(sys.modules[name]) for name in names if name in sys.modules and not name.startswith("torch.")]
    changed = [names_of for names_of in files if "len" not in names_of]
    for names_of in changed:
        names_of["len"] = _length
    try:
        yield
    finally:
        for names_of in changed:
            del names_of["len"]


def _length(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) else len(value)


def _traced(module: nn.Module, example: Tensor) -> fx.GraphModule:
    batch = torch.export.Dim("batch", min=1, max=65536)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:
        raise UserError(f"the network does not trace: {_where(error, module)}") from error
    with torch.no_grad():
        answer = module(example)
    return _plainly_signed(program.module(check_guards=False), None if isinstance(answer, Tensor) else list(answer))


def _plainly_signed(gm: Any, names: Sequence[str] | None) -> fx.GraphModule:
    """The same graph without the exporter's packing of inputs and outputs. names: of the outputs; None: it is one."""
    graph = fx.Graph()
    found = _flat(graph.graph_copy(gm.graph, {}))
    for name, node in zip(names or ["the output"], found, strict=True):
        if not isinstance(node, fx.Node) or node.op == "placeholder" or is_constant(node):
            raise UserError(f"{name} of the network is not computed from the image: leave it out with --outputs")
        if names is not None and not numbers_of(node):
            raise UserError(f"output '{name}' of the network is not float32 [images, …]: leave it out with --outputs")
    graph.output(found[0] if names is None else dict(zip(names, found, strict=True)))
    return fx.GraphModule(gm, graph)


def _flat(result: Any) -> list[Any]:
    if isinstance(result, list | tuple):
        return [part for value in result for part in _flat(value)]
    return [result]


def _check_same(module: nn.Module, gm: fx.GraphModule, input_size: tuple[int, int, int]) -> None:
    """Hold the simplified graph against the network on noise: a rewrite that does not apply must not go unnoticed."""
    noise = torch.randn(3, *input_size, generator=torch.Generator().manual_seed(0))
    try:
        same = _computes_the_same(module, gm, noise) or _same_in_double(module, noise)
    except RuntimeError as error:
        raise UserError(f"the traced network does not run: {reason_of(error)} (in-place operators?)") from error
    if not same:
        raise UserError("the traced network does not compute what the network computes (in-place operators?)")


def _computes_the_same(module: nn.Module, gm: nn.Module, noise: Tensor) -> bool:
    with torch.no_grad():
        expected, found = by_name(module(noise)), by_name(gm(noise))
    return all(
        torch.allclose(found[name], right, rtol=1e-2, atol=1e-3 * float(right.abs().max()))
        for name, right in expected.items()
    )


def _same_in_double(module: nn.Module, noise: Tensor) -> bool:
    """Some networks make much of what float32 rounds off: there the same rewrites have to hold in float64."""
    try:
        precise = deepcopy(module).double()
        captured = _traced(precise, noise.double())
        simplify(captured)
        return _computes_the_same(precise, captured, noise.double())
    except (RuntimeError, UserError):  # a part that computes in float32 alone
        return False


def _where(error: Exception, network: nn.Module) -> str:
    """What was said, and where: the innermost module of the network that was being called, and its line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0].rstrip(".") if lines else type(error).__name__
    paths = {id(part): path for path, part in network.named_modules()}
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = next((frame.f_locals.get(name) for name in frame.f_code.co_varnames[:1]), None)  # `self`
        own_code = not frame.f_code.co_filename.startswith(os.path.dirname(torch.__file__))
        if id(module) in paths and own_code:
            name = paths[id(module)] or "the network itself"
            place = f" (module {name}, {type(module).__name__}, {frame.f_code.co_filename}:{line})"
    return said + place
