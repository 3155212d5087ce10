"""One runtime beside the reference: codes, outputs, layers, and why they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genq_export.core.errors import BackendError, BackendMissing
from genq_export.core.progress import Progress
from genq_export.tasks.counts import ErrorPower, Share
from runtime_tests.qdq_file.copies import fed, fed_name, fed_tensors, watched
from runtime_tests.qdq_file.experiments.explain import Explained, explain
from runtime_tests.qdq_file.experiments.scene import Finding, Scene
from runtime_tests.qdq_file.experiments.unseen import border_when_read_alone, unrounded_residuals
from runtime_tests.qdq_file.inputs import Feeds
from runtime_tests.qdq_file.loading import Arrays, Level, Manner
from runtime_tests.qdq_file.read import QdqFile
from runtime_tests.qdq_file.result import Layer, OutputFidelity, QuantizerFidelity, RuntimeFidelity
from runtime_tests.qdq_file.session import Opened
from runtime_tests.qdq_file.tally import Tally

# Outputs that differ by less of their largest number, with equal codes in front, differ by float rounding.
_ROUNDING = 1e-3
_EXPERIMENTS_ON = 2  # runs, of those whose outputs alone differ


@dataclass(frozen=True)
class Reference:
    """The Q/DQ graph in float: what was run, and its outputs and codes of each run."""

    samples: Sequence[Feeds]
    outputs: Sequence[Arrays]
    codes: Sequence[Arrays]


def compare_runtime(
    file: QdqFile, reference: Reference, manner: Manner, limit: float, progress: Progress
) -> RuntimeFidelity:
    """Run a file as users run it, with its codes read, and fed with the reference's codes.

    Args:
        file: of any tool.
        reference: what it is held against.
        manner: the runtime.
        limit: seconds that one answer may take.
        progress: told what happens.
    """
    try:
        with _Sessions(file, reference, manner, limit) as sessions:
            return _compared(file, reference, sessions, limit, progress)
    except BackendError as error:
        missing, name = isinstance(error, BackendMissing), manner.runtime
        return RuntimeFidelity(runtime=name, title=name, problem=str(error), missing=missing)


class _Sessions:
    """A file as it is, watched, and fed; this is None where the runtime does not take it, and `refused` says why."""

    def __init__(self, file: QdqFile, reference: Reference, manner: Manner, limit: float) -> None:
        self.manner, self.refused = manner, ""
        self.fed_model = fed(file.model, file.quantizers, reference.codes[0])
        self.plain = Opened(file.model, manner, limit)
        self.fed: Opened | None = None
        try:
            self.watched = Opened(watched(file.model, file.quantizers), manner, limit)
        except BackendError:
            self.plain.close()
            raise
        try:
            self.fed = Opened(self.fed_model, manner, limit)
        except BackendError as error:
            self.refused = str(error)

    def __enter__(self) -> "_Sessions":
        return self

    def __exit__(self, *error: object) -> None:
        for opened in filter(None, (self.plain, self.watched, self.fed)):
            opened.close()

    def run_fed(self, sample: Feeds, codes: Arrays, tensors: Sequence[str]) -> Arrays | None:
        """Codes of the fed copy; None from the moment at which the runtime fails on it."""
        if self.fed is None:
            return None
        try:
            given = {fed_name(name): codes[name] for name in fed_tensors(self.fed_model)}
            return self.fed.run(sample | given, tensors)
        except BackendError as error:
            self.fed, self.refused = None, str(error)
            return None


def _compared(
    file: QdqFile, reference: Reference, sessions: _Sessions, limit: float, progress: Progress
) -> RuntimeFidelity:
    tally = Tally(file.quantizers)
    tensors = [item.tensor for item in file.quantizers]
    names = [part.name for part in file.model.graph.output]
    outputs: list[Arrays] = []
    apart: list[Arrays] = []
    unseen: list[int] = []
    rows = list(zip(reference.samples, reference.outputs, reference.codes, strict=True))
    for number, (sample, expected, codes) in enumerate(progress.track(rows, len(rows), sessions.plain.title)):
        outputs.append(sessions.plain.run(sample, names))
        seen = sessions.watched.run(sample, tensors)
        own = sessions.run_fed(sample, codes, tensors)
        if tally.add(codes, seen, own) and not _close(expected, outputs[-1]):
            unseen.append(number)
        apart.append(_apart(codes, seen, own, tally))
    manner = sessions.manner
    scene = Scene(manner, sessions.fed_model, reference.samples, reference.codes, apart, limit)
    suspects = tally.suspects
    if suspects:
        progress.say(f"  {sessions.plain.title}: {len(suspects)} quantizers differ by themselves: why?")
    found = explain(scene, suspects) if suspects else {}
    reason = _unseen(file, reference, manner, outputs, unseen, limit)
    return RuntimeFidelity(
        runtime=manner.runtime, title=sessions.plain.title,
        codes=sum(count.codes for count in tally.counts.values()),
        differing=sum(count.differing for count in tally.counts.values()),
        first=None if tally.first is None else tally.first.tensor,
        quantizers=_quantizers(tally, found, sessions.fed is not None),
        outputs=tuple(_output(name, reference.outputs, outputs) for name in names),
        unseen_runs=len(unseen), unseen=reason.explanation,
        evidence=(*filter(None, [reason.evidence, sessions.refused]), *_levels(scene, suspects)),
        layers=_layers(sessions.plain),
    )  # fmt: skip


def _apart(codes: Arrays, seen: Arrays, own: Arrays | None, tally: Tally) -> Arrays:
    """The runtime's codes of quantizers that differ by themselves in a run: fed, or with equal inputs."""
    found: Arrays = {}
    differs = set[str]()
    for item in tally.quantizers:
        name = item.tensor
        if own is not None and not np.array_equal(own[name], codes[name]):
            found[name] = own[name]
        if not np.array_equal(seen[name], codes[name]):
            if differs.isdisjoint(item.inputs):
                found.setdefault(name, seen[name])
            differs.add(name)
    return found


def _close(expected: Arrays, found: Arrays) -> bool:
    """Do outputs differ by float rounding at most?"""
    return all(
        part.shape == found[name].shape
        and np.abs(part.astype(np.float64) - found[name]).max(initial=0)
        <= _ROUNDING * max(np.abs(part.astype(np.float64)).max(initial=0), 1e-6)
        for name, part in expected.items()
    )


def _unseen(
    file: QdqFile, reference: Reference, manner: Manner, outputs: Sequence[Arrays], unseen: list[int], limit: float
) -> Finding:
    """Why outputs differ in runs whose codes are all equal when they are read."""
    if not unseen:
        return Finding()
    some = unseen[:_EXPERIMENTS_ON]
    samples, found, expected = (
        [rows[number] for number in some] for rows in (reference.samples, outputs, reference.outputs)
    )
    finding = unrounded_residuals(file.model, file.quantizers, manner, samples, found, expected, limit)
    if finding.explanation is not None:
        return finding
    number = unseen[0]
    return border_when_read_alone(
        file.model, file.quantizers, manner, reference.samples[number], reference.codes[number], limit
    )


def _levels(scene: Scene, suspects: Sequence[Any]) -> list[str]:
    """How many codes differ by themselves with fewer optimisations."""
    levels: tuple[Level, ...] = ("off",) if scene.manner.runtime == "openvino" else ("basic", "extended")
    told = []
    for level in levels if suspects else ():
        try:
            changed = scene.runs(scene.fed, replace(scene.manner, level=level), [item.tensor for item in suspects])
        except BackendError:
            continue
        differing = sum(scene.left(item, changed, scene.expected) for item in suspects)
        how = "low-precision transformations off" if level == "off" else f"{level} optimisations alone"
        told.append(f"with {how} {differing:,} codes differ by themselves")
    return told


def _quantizers(tally: Tally, found: dict[str, Explained], is_fed: bool) -> tuple[QuantizerFidelity, ...]:
    return tuple(
        QuantizerFidelity(
            tensor=item.tensor, operator=item.operator or None, inputs=item.inputs, codes=count.codes,
            differing=count.differing, largest=count.largest, own_largest=count.own_largest,
            own=count.own if is_fed else None, clean=count.clean,
            explanation=reason.explanation, evidence=reason.evidence,
        )
        for item in tally.quantizers
        if (count := tally.counts[item.tensor]) and (reason := found.get(item.tensor, Explained()))
    )  # fmt: skip


def _output(name: str, expected: Sequence[Arrays], found: Sequence[Arrays]) -> OutputFidelity:
    power, share, largest, is_answer = ErrorPower(), Share(), 0.0, False
    for one, other in zip(expected, found, strict=True):
        right, given = np.asarray(one[name], np.float32), np.asarray(other[name], np.float32)
        if right.shape != given.shape:
            return OutputFidelity(name=name, sqnr_db=-300, largest=float("inf"), agreement=0.0)
        power.add(right, given)
        largest = max(largest, float(np.abs(right - given).max(initial=0)))
        if right.ndim == 2 and right.shape[1] > 1:
            is_answer = True
            share.add(right.argmax(1) == given.argmax(1))
    agreement = share.value() if is_answer else None
    return OutputFidelity(name=name, sqnr_db=round(power.sqnr_db(), 2), largest=largest, agreement=agreement)


def _layers(plain: Opened) -> tuple[Layer, ...] | None:
    try:
        rows = plain.layers()
    except BackendError:
        return None
    fields = Layer.model_fields
    return tuple(Layer(**{name: value for name, value in row.items() if name in fields}) for row in rows)
