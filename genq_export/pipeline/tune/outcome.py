"""What a tried build reached, in the three numbers that conditions are about: loss, time of an answer, bytes."""

from typing import Literal

from genq_export.config.base import Frozen
from genq_export.core.errors import UserError
from runtime_tests.report.model import Report
from runtime_tests.verify.float_distance import HELD_OUT
from runtime_tests.verify.label_figures import points_lost
from runtime_tests.verify.results import FLOAT, Verification

Minimize = Literal["latency", "size", "loss"]
Unit = Literal["points", "nats", "dB"]
GAIN = 1.02  # times that a build must be better than float, else it is not worth shipping
_NOTHING = -300.0  # dB of noise where there is none


class Outcome(Frozen):
    """One build, measured.

    Attributes:
        loss: points of top-1 lost; without labels nats of KL divergence; without images dB of noise against the
            signal, on images that calibrated nothing.
        time_share: deployed over float latency, their calls in turns on this machine; None: not measured.
        noise: of that, relative.
        size_share: deployed over float bytes.
        worst: the layers whose quantization costs most, the worst first.
    """

    name: str
    loss: float
    unit: Unit
    time_share: float | None
    noise: float
    deployed_ms: float | None
    float_ms: float | None
    size_share: float
    deployed_bytes: int
    worst: tuple[str, ...] = ()
    seconds: float = 0.0

    def cost(self, minimize: Minimize) -> float:
        """What is to be small."""
        if minimize == "loss":
            return self.loss
        return self.size_share if minimize == "size" or self.time_share is None else self.time_share

    def beats_float(self, minimize: Minimize) -> bool:
        """Is it `GAIN` times as fast as float, or as small where size counts or no time could be taken?"""
        share = self.size_share if minimize == "size" or self.time_share is None else self.time_share
        return share * GAIN <= 1


def outcome_of(name: str, report: Report, seconds: float) -> Outcome:
    """Read a report. Raises UserError where the deployed file could not be measured."""
    loss, unit = loss_of(report.run)
    size, latency = report.size, report.latency
    if size is None:
        raise UserError(
            f"{name}: the size of the float network is not known; `genq-export doctor` says what is missing"
        )
    return Outcome(
        name=name,
        loss=loss,
        unit=unit,
        time_share=None if latency is None else latency.deployed_ms / latency.float_ms,
        noise=0.0 if latency is None else latency.noise,
        deployed_ms=None if latency is None else latency.deployed_ms,
        float_ms=None if latency is None else latency.float_ms,
        size_share=size.deployed_bytes / size.float_bytes,
        deployed_bytes=size.deployed_bytes,
        worst=tuple(dict.fromkeys(cost.name for cost in report.sensitivity)),
        seconds=round(seconds, 1),
    )


def loss_of(run: Verification) -> tuple[float, Unit]:
    """The loss of the deployed file, by the best measure that this run has.

    Raises:
        UserError: where the file has given no answers.
    """
    if FLOAT in run.accuracy and run.deployed in run.accuracy:
        return 100 * (run.accuracy[FLOAT].top1 - run.accuracy[run.deployed].top1), "points"
    lost = points_lost(run)
    if lost is not None:
        return lost, "points"
    if run.deployed in run.divergence:
        return run.divergence[run.deployed], "nats"
    for distance in run.from_float:
        if (distance.backend, distance.images) == (run.deployed, HELD_OUT):
            return (_NOTHING if distance.sqnr_db is None else -distance.sqnr_db), "dB"
    detail = next((item.detail for item in run.backends if item.name == run.deployed and item.detail), "no answers")
    raise UserError(f"the deployed file could not be measured: {detail}")
