"""What activations on their grids do to a network's answers, with weights in float."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.hooks import set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.outputs import Answer, as_answer, by_name
from genq_export.tasks.counts import sqnr_db

WIDE = 8  # bits of activations, at which the grids of a network of ordinary tensors leave its answers as they are
NEAR = 20.0  # dB of such answers to float's; ordinary networks have 20 to 35
_BATCH = 8
_FEW = 16  # images


def far_from_float(graph: GraphNetwork, images: Tensor) -> bool:
    """Are the answers far from float's, though activations have 8 bits? A few images tell."""
    return answers_db(graph, images[:_FEW]) < NEAR


def answers_db(graph: GraphNetwork, images: Tensor) -> float:
    """Signal to noise of the output that is furthest from float's, activations on their grids and weights in float."""
    parts = [part for part in graph.modules() if isinstance(part, ActivationQuantizer)]
    with in_float(graph):
        teacher = answers(graph, images)
        with switched(parts, True):
            student = answers(graph, images)
    return distance_db(student, teacher)


@contextmanager
def in_float(graph: GraphNetwork) -> Iterator[None]:
    """All of it computes in float."""
    set_quantization(graph, False)
    try:
        yield
    finally:
        set_quantization(graph, True)


@contextmanager
def switched(parts: Sequence[ActivationQuantizer | QuantizedLayer], enabled: bool) -> Iterator[None]:
    """These quantizers and layers round, or compute in float, in a network whose others stay as they are."""
    before = [part.enabled for part in parts]
    for part in parts:
        part.enabled = enabled
    try:
        yield
    finally:
        for part, was in zip(parts, before, strict=True):
            part.enabled = was


def answers(graph: GraphNetwork, images: Tensor) -> Answer:
    """Of images [N, C, H, W], a few at a time."""
    with torch.no_grad():
        batches = [by_name(graph(batch)) for batch in images.split(_BATCH)]
    return as_answer({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})


def distance_db(student: Answer, teacher: Answer) -> float:
    """Signal to noise of the output that is furthest from the teacher's."""
    found, wanted = by_name(student), by_name(teacher)
    powers = ((float(x.double().square().sum()), float((found[name] - x).double().square().sum()))
              for name, x in wanted.items())  # fmt: skip
    return min(sqnr_db(signal, noise) for signal, noise in powers)
