"""Outputs that differ although every code is equal while codes are read: what does the runtime do when nobody looks?

A tensor that is an output must be computed; without, the runtime may leave it out, or fuse what it would not. OpenVINO
adds the results of a convolution to the residual without rounding them to codes in between, and only clips them: the
reference that does so says whether that is all. Otherwise code tensors are read one alone, to find where the difference
begins and whether it lies at the border of two codes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from genq_export.core.errors import BackendError
from runtime_tests.qdq_file.copies import copy_of, fed, watched
from runtime_tests.qdq_file.experiments.border import at_the_border
from runtime_tests.qdq_file.experiments.scene import REFERENCE, Finding, Scene
from runtime_tests.qdq_file.graph import (
    PRODUCTS,
    Graph,
    Quantizer,
    activation_quantizers,
    quantize_nodes,
)
from runtime_tests.qdq_file.inputs import Feeds
from runtime_tests.qdq_file.loading import Arrays, Manner
from runtime_tests.qdq_file.session import Opened, differing

_FEW = 0.05  # of the mean difference of outputs; single codes at the border leave more than nothing


def unrounded_residuals(
    model: onnx.ModelProto,
    quantizers: Sequence[Quantizer],
    manner: Manner,
    samples: Sequence[Feeds],
    outputs: Sequence[Arrays],
    expected: Sequence[Arrays],
    limit: float,
) -> Finding:
    """Leave out of the reference, addition by addition, the rounding without which it is nearest to the runtime.

    Args:
        model: the file.
        quantizers: its own.
        manner: the runtime.
        samples: the runs in question.
        outputs: of the runtime as users run it.
        expected: of the reference.
        limit: seconds of an answer.
    """
    sites = residuals(model, quantizers)
    names = [part.name for part in model.graph.output]
    if not sites:
        return Finding()
    try:
        skipped = _skipped(model, sites, manner, samples, limit)
        with Opened(without_rounding(model, skipped), REFERENCE, limit) as opened:
            changed = [opened.run(sample, names) for sample in samples]
    except BackendError:
        return Finding()
    before, left = _gap(expected, outputs), _gap(changed, outputs)
    evidence = (
        f"without {len(skipped)} roundings between a layer and an addition the reference's outputs are {left:.2g} from"
        f" the runtime's on average, with them {before:.2g}"
    )
    told = "the runtime adds results of layers to residuals without rounding them to codes, unless these are read"
    return Finding(told if skipped and left <= _FEW * before else None, evidence)


@dataclass(frozen=True)
class Residual:
    """An addition of which inputs are results of layers, rounded for it alone.

    output: of the addition. places: of these inputs. quantizer: the one behind it.
    """

    output: str
    places: tuple[int, ...]
    quantizer: Quantizer


def residuals(model: onnx.ModelProto, quantizers: Sequence[Quantizer]) -> list[Residual]:
    """Every such addition with a quantizer behind it, in the order of the graph."""
    graph = Graph(model)
    readers = Counter(name for node in model.graph.node for name in node.input)
    quantize = {node.output[0]: node for node in quantize_nodes(graph)}
    sources = {item.source: item for item in quantizers}
    for node in reversed(model.graph.node):
        if node.op_type in ("Relu", "Clip") and node.output[0] in sources:
            sources.setdefault(node.input[0], sources[node.output[0]])

    def is_rounded_layer(name: str) -> bool:
        codes = _codes_behind(name, graph)
        made = graph.producer.get(quantize[codes].input[0]) if codes in quantize else None
        return made is not None and made.op_type in PRODUCTS and readers[name] == readers[codes] == 1

    found = []
    for node in model.graph.node:
        places = (
            tuple(n for n, name in enumerate(node.input) if is_rounded_layer(name)) if node.op_type == "Add" else ()
        )
        if places and node.output[0] in sources:
            found.append(Residual(node.output[0], places, sources[node.output[0]]))
    return found


def _codes_behind(name: str, graph: Graph) -> str:
    """The tensor that a DequantizeLinear reads to give another; empty where none gives it."""
    node = graph.producer.get(name)
    return str(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else ""


def _skipped(
    model: onnx.ModelProto, sites: Sequence[Residual], manner: Manner, samples: Sequence[Feeds], limit: float
) -> dict[str, int]:
    """The input of each addition without whose rounding the reference gives the most of the runtime's codes behind it;
    additions of which it gives the most with all of them are left out."""
    tensors = [site.quantizer.tensor for site in sites]
    with Opened(watched(model, [site.quantizer for site in sites]), manner, limit) as opened:
        found = [opened.run(sample, tensors) for sample in samples]
    chosen: dict[str, int] = {}
    for site in sites:
        tensor = site.quantizer.tensor
        tried: list[dict[str, int]] = [chosen, *({**chosen, site.output: place} for place in site.places)]
        left = []
        for option in tried:
            with Opened(watched(without_rounding(model, option), [site.quantizer]), REFERENCE, limit) as opened:
                codes = [opened.run(sample, [tensor]) for sample in samples]
            left.append(sum(differing(one[tensor], two[tensor]) for one, two in zip(codes, found, strict=True)))
        chosen = tried[int(np.argmin(left))]
    return chosen


def without_rounding(model: onnx.ModelProto, places: Mapping[str, int]) -> onnx.ModelProto:
    """A copy whose additions, by output, read one input clipped to the range of its codes, and not rounded."""
    copy = copy_of(model)
    graph = Graph(copy)
    by_codes = {item.tensor: item for item in activation_quantizers(model)}
    at_hand = list(copy.graph.node)
    del copy.graph.node[:]
    for node in at_hand:
        if node.output[0] in places:
            place = places[node.output[0]]
            item = by_codes[_codes_behind(node.input[place], graph)]
            node.input[place] = _clipped(copy, item) if item.range is not None else item.source
        copy.graph.node.append(node)
    return copy


def _clipped(model: onnx.ModelProto, item: Quantizer) -> str:
    """Append a Clip of what a quantizer rounds, to its range; the name of the result."""
    names = [f"{item.tensor}/{part}" for part in ("least", "largest", "clipped")]
    for name, end in zip(names, item.range or (), strict=False):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(end, np.float32), name))
    model.graph.node.append(helper.make_node("Clip", [item.source, *names[:2]], [names[2]]))
    return names[2]


def border_when_read_alone(
    model: onnx.ModelProto, quantizers: Sequence[Quantizer], manner: Manner, sample: Feeds, codes: Arrays, limit: float
) -> Finding:
    """Find the first code tensor that differs when it alone is read, and look at the numbers that it rounds.

    Differences are inherited, so that a search by halves finds it.

    Args:
        model: the file.
        quantizers: its own.
        manner: the runtime.
        sample: a run in which outputs differ.
        codes: the reference's in that run.
        limit: seconds of an answer.
    """

    def alone(item: Quantizer) -> Arrays:
        with Opened(watched(model, [item]), manner, limit) as opened:
            return opened.run(sample, [item.tensor])

    low, high, found = 0, len(quantizers) - 1, Arrays()
    while low <= high:
        middle = (low + high) // 2
        item = quantizers[middle]
        try:
            read = alone(item)
        except BackendError:
            return Finding()
        if differing(read[item.tensor], codes[item.tensor]):
            first, found, high = item, read, middle - 1
        else:
            low = middle + 1
    if not found:
        return Finding(None, "every code is the reference's when it alone is read")
    scene = Scene(manner, fed(model, quantizers, codes), [sample], [codes], [found], limit)
    finding = at_the_border(scene, [first])[first.tensor]
    evidence = f"read alone, {first.tensor} is the first that differs; {finding.evidence}"
    told = f"{finding.explanation}, at {first.tensor} where codes are not read" if finding.explanation else None
    return Finding(told, evidence)


def _gap(first: Sequence[Arrays], second: Sequence[Arrays]) -> float:
    gaps = [
        np.abs(part.astype(np.float64) - other[name]).ravel()
        for one, other in zip(first, second, strict=True)
        for name, part in one.items()
    ]
    return float(np.concatenate(gaps).mean())
