"""The answers to the questions people ask first, as rows of a table."""

from collections.abc import Iterator
from dataclasses import dataclass

from runtime_tests.report.model import Report
from runtime_tests.report.render.formatting import MINUS, TIMES, byte_size, chance, milliseconds, percent, plural
from runtime_tests.verify import gates
from runtime_tests.verify.results import FLOAT, BackendFidelity, Latency
from runtime_tests.verify.task_answers import deployed_answers, shown_figure


@dataclass(frozen=True)
class KeyFigure:
    """One row. context: phrases that are read one after another, each of which stays on a line."""

    what: str
    figure: str
    context: tuple[str, ...] = ()


def key_figures(report: Report) -> list[KeyFigure]:
    """Accuracy, agreement, codes, speed and size, as far as they were measured."""
    return [*_accuracy(report), *_answers(report), *_fidelity(report), _speed(report.latency), *_size(report)]


def _accuracy(report: Report) -> Iterator[KeyFigure]:
    for name, score in report.accuracy.items():
        interval = f"95 % interval {100 * score.low:.2f} to {100 * score.high:.2f},"
        yield KeyFigure(f"top-1 {name}", percent(score.top1), (interval, f"n = {score.n}"))
    for item in report.run.against_labels:
        if item.backend in (FLOAT, report.run.deployed):
            yield KeyFigure(f"{item.title}, {item.backend}", shown_figure(item), (f"on {item.n} {item.images} images",))
    loss = gates.accuracy_loss(report.run)
    if loss is not None:
        cost = report.run.cost
        significance = (f"McNemar p {chance(cost.p_value)}",) if cost is not None else ()
        yield KeyFigure("accuracy loss", f"{loss:.2f} points".replace("-", MINUS), significance)


def _answers(report: Report) -> Iterator[KeyFigure]:
    for item in deployed_answers(report.run):
        yield KeyFigure(item.title, shown_figure(item).replace("-", MINUS), (f"on {item.n} {item.images} images",))


def _fidelity(report: Report) -> Iterator[KeyFigure]:
    agreement = gates.deployed_agreement(report.run)
    if agreement is not None:
        yield KeyFigure("agreement with reference", percent(agreement), (report.run.deployed,))
    found = gates.deployed_from_float(report.run)
    if found is not None and found.sqnr_db is not None:
        shown = f"{found.sqnr_db:.1f} dB".replace("-", MINUS)
        yield KeyFigure(
            "outputs against float", shown, (f"cosine {found.cosine:.4f},", f"on {found.n} {found.images} images")
        )
    fidelity = gates.deployed_fidelity(report.run)
    if fidelity is not None:
        context = (f"of {fidelity.codes:,}", f"on {fidelity.images} images,", f"against the {fidelity.against}")
        yield KeyFigure("differing codes", f"{fidelity.differing:,}", context)
        if fidelity.at_origin:
            yield KeyFigure("differing by themselves", f"{fidelity.at_origin:,}", _of_these(fidelity))


def _of_these(fidelity: BackendFidelity) -> tuple[str, ...]:
    others = f"{fidelity.unexplained:,} of them not" if fidelity.unexplained else "all of them"
    return (f"{others} at rounding ties;", "the others follow")


def _speed(latency: Latency | None) -> KeyFigure:
    if latency is None:
        return KeyFigure("speed-up", "not measured")
    noise = () if latency.significant else (f"within the noise of {percent(latency.noise, 1)},",)
    context = (
        milliseconds(latency.deployed_ms),
        f"against {milliseconds(latency.float_ms)}",
        f"({latency.float_runtime}),",
        *noise,
        f"{plural(latency.threads, 'thread')},",
        f"batch {latency.batch}",
    )
    return KeyFigure("speed-up", f"{latency.speedup:.2f}{TIMES}" if latency.significant else "none", context)


def _size(report: Report) -> Iterator[KeyFigure]:
    size = report.size
    if size is not None:
        context = (byte_size(size.float_bytes), f"to {byte_size(size.deployed_bytes)}")
        yield KeyFigure("size", f"{size.float_bytes / size.deployed_bytes:.1f}{TIMES} smaller", context)
