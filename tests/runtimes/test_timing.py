"""Timing in turns, with a clock of our own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genq_export.core.errors import BackendMissing
from genq_export.runtimes import timing
from tests.runtimes.stand_ins import Event


class Clock:
    """Nanoseconds that pass only when a call says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def spend(self, milliseconds: float) -> None:
        self.now += int(milliseconds * 1e6)


def test_calls_take_turns_and_are_timed_apart() -> None:
    clock, order = Clock(), []

    def call(name: str, cost: float) -> None:
        order.append(name)
        clock.spend(cost)

    times = timing.time_in_turns([lambda: call("a", 1), lambda: call("b", 3)], 4, timing.wall_clock(clock))
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert times.tolist() == [[1, 3]] * 4


def test_warm_up_goes_on_until_stable_or_out_of_time() -> None:
    clock, costs = Clock(), [10.0] * 10 + [5.0] * 10 + [1.0] * 100
    assert timing.warm_up(lambda: clock.spend(costs.pop(0)), timing.wall_clock(clock), 1000) == 40
    growing = iter(range(1, 100000))
    clock = Clock()
    assert timing.warm_up(lambda: clock.spend(next(growing)), timing.wall_clock(clock), 0.5) == 40


class Session:
    """Takes as long as the next of `times` says."""

    def __init__(self, times: list[float]) -> None:
        self.times, self.closed = times, False

    def prepared(self, batch: np.ndarray) -> tuple[Callable[[], Any], None]:
        return (lambda: None), None

    def stopwatch(self) -> timing.Stopwatch:
        return lambda call: self.times.pop(0)

    def close(self) -> None:
        self.closed = True


def test_parts_are_halves_and_every_other_call() -> None:
    session = Session([1.0] * 20 + [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0, 5.0, 9.0])

    def open_session(name: str, path: Path, threads: int) -> Session:
        if name != "here":
            raise BackendMissing(name)
        return session

    sessions = [{"runtime": name, "variant": "deployed", "path": "model.onnx"} for name in ("missing", "here")]
    (found,) = timing.time_sessions(open_session, sessions, [1, 2, 2], [1], [1], 10, 1.0)
    assert (found["runtime"], found["median_ms"], found["parts_ms"]) == ("here", 5.0, [3.0, 7.0, 3.0, 7.0])
    assert found["cuda_graph"] is None and session.closed


def test_events_time_each_call_in_turn() -> None:
    def spend(milliseconds: float) -> None:
        Event.now += milliseconds

    watch = timing.event_stopwatch(Event(), Event())
    times = timing.time_in_turns([lambda: spend(0.25), lambda: spend(2)], 3, watch)
    assert times.tolist() == [[0.25, 2]] * 3


def test_clocks_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert timing.describe_clocks("1755, 1980, 2619, 41\n") == "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C"
    assert timing.describe_clocks("[N/A], 1980, 2619, 41") is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@" > ' + str(tmp_path / "asked") + "\necho '1755, 1980, 2619, 41'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert timing.read_clocks() == "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C"
    assert "--query-gpu" in (tmp_path / "asked").read_text(), "asks, and sets nothing"
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert timing.read_clocks() is None
