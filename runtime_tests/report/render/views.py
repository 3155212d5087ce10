"""What the page shows, arranged for its charts and tables: pure functions of the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genq_export.tasks.task import task_of
from runtime_tests.report.model import LayerCost, Report, TensorFacts
from runtime_tests.report.render.formatting import DASH, MINUS, TIMES, byte_size, milliseconds, percent
from runtime_tests.report.render.network_picture import Step
from runtime_tests.verify import gates
from runtime_tests.verify.label_figures import labelled
from runtime_tests.verify.results import FLOAT, Latency, LatencyRow, LayerQuality, Score, Size, WeightQuality
from runtime_tests.verify.task_answers import deployed_answers, shown_figure

_MOST_LAYERS = 120
_MOST_COSTS = 30
_MOST_CLASSES = 30
_WEAKEST = 3
_COARSEST = 5


@dataclass(frozen=True)
class Figure:
    """One of the large figures at the top of the page."""

    value: str
    unit: str
    label: str
    context: str


def figures(report: Report) -> list[Figure]:
    """The figures at the top of the page, four where sizes are known."""
    return [_cost_figure(report), _speed_figure(report.latency), *_size_figure(report.size), _agreement_figure(report)]


def _cost_figure(report: Report) -> Figure:
    run = report.run
    before, after, lost = labelled(run, FLOAT), labelled(run, run.deployed), gates.accuracy_loss(run)
    if before is not None and after is not None and lost is not None:
        context = f"{percent(after.value)} against {percent(before.value)} on {after.n} images"
        return Figure(f"{-lost:+.2f}".replace("-", MINUS), "points", after.title, context)
    answers = deployed_answers(run)
    if answers:
        value, _, unit = shown_figure(answers[0]).replace("-", MINUS).partition(" ")
        return Figure(value, unit, answers[0].title, f"{answers[0].n} {answers[0].images} images, against float")
    loss = gates.accuracy_loss(run)
    if loss is None:
        share = report.agreement.get(f"{run.deployed}_vs_float")
        return Figure(*_split(share), "same class as float", "no labels: not accuracy")
    context = f"{percent(report.accuracy[run.deployed].top1)} against {percent(report.accuracy['float'].top1)}"
    return Figure(f"{-loss:+.2f}".replace("-", MINUS), "points", "top-1 accuracy", context)


def _speed_figure(latency: Latency | None) -> Figure:
    if latency is None:
        return Figure(DASH, "", "speed", "not measured on the target")
    context = f"{milliseconds(latency.deployed_ms)} against {milliseconds(latency.float_ms)}"
    if not latency.significant:
        return Figure("none", "", "speed-up", f"{context}, within the noise")
    return Figure(f"{latency.speedup:.2f}", TIMES, "speed", context)


def _size_figure(size: Size | None) -> Iterator[Figure]:
    if size is not None:
        context = f"{byte_size(size.deployed_bytes)} against {byte_size(size.float_bytes)}"
        yield Figure(f"{size.float_bytes / size.deployed_bytes:.1f}", TIMES, "smaller", context)


def _agreement_figure(report: Report) -> Figure:
    if not task_of(report.run.task).has_logits:
        found = gates.deployed_fidelity(report.run)
        context = "deployed file against the oracle" if found is not None else "not measured"
        return Figure(*_split(None if found is None else found.match), "equal codes", context)
    agreement = gates.deployed_agreement(report.run)
    context = "deployed file against reference" if agreement is not None else "not measured"
    return Figure(*_split(agreement), "agreement", context)


def _split(share: float | None) -> tuple[str, str]:
    """A share as value and unit."""
    return (percent(share).removesuffix(" %"), "%") if share is not None else (DASH, "")


@dataclass(frozen=True)
class AccuracyChart:
    """Scores by backend, and the ends of the axis as shares, whole points wide."""

    first: float
    last: float
    rows: tuple[tuple[str, Score], ...]


def accuracy_chart(report: Report) -> AccuracyChart | None:
    """None without labels."""
    if not report.accuracy:
        return None
    low = min(score.low for score in report.accuracy.values())
    high = max(score.high for score in report.accuracy.values())
    first, last = max(0.0, int(100 * low) / 100), min(1.0, (int(100 * high) + 1) / 100)
    return AccuracyChart(first, last, tuple(report.accuracy.items()))


@dataclass(frozen=True)
class ClassChange:
    """Share of the `n` images of a class that are right in float and when deployed."""

    name: str
    n: int
    before: float
    after: float
    change: float


@dataclass(frozen=True)
class ClassChart:
    """Classes, worst first; span: largest change of any. left_out: classes that lost least."""

    rows: tuple[ClassChange, ...]
    left_out: int
    span: float


def class_chart(report: Report) -> ClassChart | None:
    """Change of correct images by class: all classes, or the worst where there are many; None where unknown."""
    rows = sorted(_class_changes(report), key=lambda row: (row.change, row.name))
    if not rows:
        return None
    span = max(abs(row.change) for row in rows) or 0.01
    return ClassChart(tuple(rows[:_MOST_CLASSES]), max(0, len(rows) - _MOST_CLASSES), span)


def _class_changes(report: Report) -> Iterator[ClassChange]:
    evaluation = report.run.evaluation
    before, after = report.accuracy.get("float"), report.accuracy.get(report.run.deployed)
    if evaluation is None or evaluation.class_names is None or evaluation.class_counts is None:
        return
    if before is None or after is None or before.correct_by_class is None or after.correct_by_class is None:
        return
    counted = zip(
        evaluation.class_names, evaluation.class_counts, before.correct_by_class, after.correct_by_class, strict=True
    )
    for name, count, b, a in counted:
        if count:
            yield ClassChange(name, count, b / count, a / count, (a - b) / count)


@dataclass(frozen=True)
class LatencySetting:
    """Sessions timed under one setting; slowest: largest median, ms."""

    threads: int
    batch: int
    rows: tuple[LatencyRow, ...]
    slowest: float


def latency_settings(latency: Latency | None) -> list[LatencySetting]:
    """Float and deployed sessions by number of threads and size of batch."""
    settings: dict[tuple[int, int], list[LatencyRow]] = {}
    for row in latency.rows if latency is not None else ():
        if row.variant != "deployed again":
            settings.setdefault((row.threads, row.batch), []).append(row)
    return [
        LatencySetting(threads, batch, tuple(rows), max(row.median_ms for row in rows))
        for (threads, batch), rows in settings.items()
    ]


@dataclass(frozen=True)
class LayerChart:
    """Activation quantizers in execution order; top: end of the axis, dB. left_out: the cleanest.

    weakest: noisiest activations. weights: coarsest weights.
    """

    rows: tuple[LayerQuality, ...]
    top: float
    weakest: tuple[LayerQuality, ...]
    left_out: int
    weights: tuple[WeightQuality, ...]


def layer_chart(report: Report) -> LayerChart | None:
    """None where signal to noise was not measured."""
    layers = report.run.layers
    if not layers:
        return None
    noisiest = sorted((layer for layer in layers if layer.sqnr_db is not None), key=_sqnr)
    shown = layers
    if len(layers) > _MOST_LAYERS:
        chosen = {layer.name for layer in noisiest[:_MOST_LAYERS]}
        shown = tuple(layer for layer in layers if layer.name in chosen)
    coarsest = sorted((item for item in report.run.weights if item.sqnr_db is not None), key=_sqnr)
    return LayerChart(
        rows=shown,
        top=max(1.0, *map(_sqnr, noisiest)) if noisiest else 1.0,
        weakest=tuple(noisiest[:_WEAKEST]),
        left_out=len(layers) - len(shown),
        weights=tuple(coarsest[:_COARSEST]),
    )


def network_steps(report: Report) -> list[Step]:
    """A box for every quantized tensor of the deployed file."""
    quality = {item.name: item for item in report.run.layers}
    integer = {layer.name: layer.integer for layer in report.layers}
    return [
        Step(
            name=item.name,
            reads=item.reads,
            label=str(item.bits or ""),
            sqnr_db=found.sqnr_db if (found := quality.get(item.name)) is not None else None,
            in_float=any(integer.get(layer) is False for layer in item.layers),
            hover=_told(item, found),
        )
        for item in report.graph
    ]


def _told(item: TensorFacts, quality: LayerQuality | None) -> str:
    """`layer1.0.add: 8 bits, 21.3 dB, by layer1.0.conv2`"""
    parts = [f"{item.bits} bits"] if item.bits is not None else []
    if quality is not None:
        parts.append(f"{quality.sqnr_db:.1f} dB" if quality.sqnr_db is not None else "exact")
    parts += [f"by {', '.join(item.layers)}"] if item.layers else []
    return f"{item.name}: {', '.join(parts)}" if parts else item.name


def _sqnr(item: LayerQuality | WeightQuality) -> float:
    return item.sqnr_db or 0.0


@dataclass(frozen=True)
class CostChart:
    """Layers by what quantizing each alone costs, most expensive first; top, total: of all layers, nats."""

    rows: tuple[LayerCost, ...]
    top: float
    total: float
    left_out: int


def cost_chart(costs: Sequence[LayerCost]) -> CostChart | None:
    """None where the costs were not measured."""
    if not costs:
        return None
    total = sum(row.kl for row in costs)
    return CostChart(tuple(costs[:_MOST_COSTS]), costs[0].kl or 1.0, total or 1.0, max(0, len(costs) - _MOST_COSTS))


@dataclass(frozen=True)
class Width:
    """Grid, storage and compute of one kind of number: three different things."""

    what: str
    grid: str
    storage: str
    compute: str


def widths(report: Report) -> list[Width]:
    """Of weights, activations, the outer layers and sums."""
    bits, containers = report.bits, report.storage.storage
    weights = (containers.weights if containers is not None else "int8").upper()
    activations = (containers.activations if containers is not None else "int8").upper()
    return [
        Width("Weights", f"{bits.weights} bits, per channel", weights, "INT8"),
        Width("Activations", f"{bits.activations} bits, per tensor", activations, activations),
        Width("First and last layer", f"{bits.first_last} bits", "INT8", "INT8"),
        Width("Sums", DASH, DASH, "INT32"),
    ]
