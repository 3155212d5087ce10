"""A program that was exported for a fixed batch, freed of it where its graph allows: tried, and not believed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from genq_export.models.program.steps import Ref, Step
from genq_export.network.outputs import by_name

BATCH = Ref("batch size of the images")
_SHAPED = frozenset((
    "view.default", "reshape.default", "_unsafe_view.default", "expand.default", "broadcast_to.default",
))  # fmt: skip


def freed(
    steps: list[Step], batch: int, user_input: str, sizes: Mapping[str, list[Any]], constants: bool
) -> list[Step]:
    """Steps in which the batch's number, where it leads a shape, is that of the images at hand.

    Args:
        steps: of the program.
        batch: that it was exported for.
        user_input: name of the images.
        sizes: of every tensor, by name, as numbers.
        constants: also in shapes that a tensor of the network is expanded to, as for a class token.
    """
    size = Step("sym_size.int", torch.ops.aten.sym_size.int, (Ref(user_input), 0), {}, BATCH.name, "")
    images = {user_input}
    found = [size]
    for step in steps:
        depends = bool(images & set(step.refs()))
        if depends:
            images |= {name for name in _names(step) if name}
        fits = depends or (constants and step.name == "expand.default")
        found.append(_with_free_batch(step, batch, sizes) if fits and step.name in _SHAPED else step)
    return found


def same_for_any_batch(module: nn.Module, size: tuple[int, int, int], batch: int) -> bool:
    """Does the module give for two batches at once what it gives for each of them?"""
    images = torch.rand(2 * batch, *size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            together = by_name(module(images))
            answers = [by_name(module(part)) for part in images.split(batch)]
            apart = {name: torch.cat([answer[name] for answer in answers]) for name in together}
    except (RuntimeError, ValueError, IndexError, TypeError):  # shapes that do not fit
        return False
    return all(_same(together[name], right) for name, right in apart.items())


def _same(found: Tensor, right: Tensor) -> bool:
    limit = 1e-4 * float(right.abs().max())
    return found.shape == right.shape and torch.allclose(found, right, rtol=1e-3, atol=limit)


def _with_free_batch(step: Step, batch: int, sizes: Mapping[str, list[Any]]) -> Step:
    shape = step.args[1] if len(step.args) > 1 else None
    given = sizes.get(str(step.outputs), [])
    if not isinstance(shape, list) or not shape or shape[0] != batch or given[:1] != [batch]:
        return step
    return replace(step, args=(step.args[0], [BATCH, *shape[1:]], *step.args[2:]))


def _names(step: Step) -> tuple[str | None, ...]:
    return (step.outputs,) if isinstance(step.outputs, str) else step.outputs
