"""Timing in turns, with a clock of our own; noise decides what counts as a difference."""

import types

import pytest

from genq_export.core.errors import BackendError
from runtime_tests.verify import latency
from runtime_tests.verify.results import LatencyRow


class Clock:
    """Nanoseconds that pass only when a call says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def spend(self, milliseconds: float) -> None:
        self.now += int(milliseconds * 1e6)


def row(
    variant: str, median: float, runtime: str = "onnxruntime", batch: int = 1, parts: tuple[float, ...] = ()
) -> LatencyRow:
    return LatencyRow.model_validate(
        {"runtime": runtime, "variant": variant, "batch": batch, "threads": 1, "runs": 10, "median_ms": median,
         "p90_ms": median, "p99_ms": median, "images_per_second": 1000 / median, "parts_ms": parts}
    )  # fmt: skip


def test_calls_take_turns_and_are_timed_apart() -> None:
    clock, order = Clock(), []

    def call(name: str, cost: float) -> None:
        order.append(name)
        clock.spend(cost)

    times = latency.time_in_turns([lambda: call("a", 1), lambda: call("b", 3)], 4, latency.wall_clock(clock))
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert times.tolist() == [[1, 3]] * 4


def test_warm_up_goes_on_until_stable_or_out_of_time() -> None:
    clock, costs = Clock(), [10.0] * 10 + [5.0] * 10 + [1.0] * 100
    assert latency.warm_up(lambda: clock.spend(costs.pop(0)), latency.wall_clock(clock), 1000) == 40
    growing = iter(range(1, 100000))
    clock = Clock()
    assert latency.warm_up(lambda: clock.spend(next(growing)), latency.wall_clock(clock), 0.5) == 40


def test_the_fastest_float_runtime_is_the_baseline() -> None:
    rows = (row("float", 4.0), row("float", 3.0, "openvino"), row("deployed", 1.5), row("deployed again", 1.53))
    result = latency.summarise((*rows, row("float", 0.1, batch=8)), "onnxruntime")
    assert (result.float_ms, result.float_runtime, result.speedup) == (3.0, "openvino", 2.0)
    assert result.noise == pytest.approx(0.02)
    assert result.significant
    assert "the fastest of ONNX Runtime and OpenVINO" in result.method


def test_a_difference_below_the_noise_is_none() -> None:
    rows = (row("float", 1.02), row("deployed", 1.0), row("deployed again", 1.1))
    assert not latency.summarise(rows, "onnxruntime").significant


def test_medians_that_agree_by_chance_hide_no_noise() -> None:
    """A neighbour slows one copy in the first half and the other in the second: the medians of all calls are equal."""
    rows = (
        row("float", 1.1),
        row("deployed", 1.0, parts=(1.0, 1.3, 1.0, 1.0)),
        row("deployed again", 1.0, parts=(1.25, 1.0, 1.0, 1.0)),
    )
    result = latency.summarise(rows, "onnxruntime")
    assert result.noise == pytest.approx(0.25)
    assert not result.significant
    assert latency.summarise((row("float", 1.3), *rows[1:]), "onnxruntime").significant


def test_parts_are_halves_and_every_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0, 5.0, 9.0])
    session = types.SimpleNamespace(logits=lambda batch: batch, close=lambda: None)
    monkeypatch.setattr(latency, "create", lambda *_: session)
    monkeypatch.setattr(latency, "warm_up", lambda *_: 0)
    monkeypatch.setattr(latency, "wall_clock", lambda: lambda call: next(times))
    (found,) = latency.time_sessions(
        [{"runtime": "onnxruntime", "variant": "deployed", "path": "model.onnx"}], [1, 2, 2], [1], [1], 10, 1.0
    )
    assert (found["median_ms"], found["parts_ms"]) == (5.0, (3.0, 7.0, 3.0, 7.0))


def test_without_both_sides_there_is_no_figure() -> None:
    with pytest.raises(BackendError):
        latency.summarise((row("float", 1.0),), "onnxruntime")
    with pytest.raises(BackendError):
        latency.summarise((), "onnxruntime")
