"""A backend that crashes or stops answering in the middle of a verification is that backend's failure alone."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.isolation.process import IsolatedBackend
from runtime_tests.verify import gates
from runtime_tests.verify.run import verify
from tests.runtime_tests.measured import no_speed


def test_the_others_go_on(
    build: Workspace, config: BuildConfig, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, before = IsolatedBackend.outputs, children()

    def stopped(backend: IsolatedBackend, batch: np.ndarray) -> np.ndarray:
        """Its process is stopped (SIGSTOP) while the images go through it; codes are asked for afterwards."""
        for process in children() - before:
            os.kill(process, signal.SIGSTOP)
        return answer(backend, batch)

    monkeypatch.setattr(IsolatedBackend, "outputs", stopped)
    values = config.model_dump()
    values["verify"] |= {"time_limit": 8.0}
    run = verify(build, BuildConfig.parse(values), model, Progress(quiet=True), measure_speed=no_speed)
    found = {item.name: (item.status, item.detail) for item in run.backends}
    assert found["onnxruntime"] == ("failed", "onnxruntime did not answer within 8 s and was stopped")
    assert found["reference"][0] == found["oracle"][0] == "ok"
    assert run.accuracy.keys() == {"float", "reference", "oracle"} and run.layers
    assert [item.backend for item in run.fidelity] == ["reference"] and run.fidelity[0].differing == 0


def children() -> set[int]:
    """Processes that this one has started, whichever of its threads did."""
    return {int(number) for task in Path("/proc/self/task").glob("*/children") for number in task.read_text().split()}


def test_a_crashing_runtime_fails_its_gate_and_nothing_else(
    build: Workspace, config: BuildConfig, model: LoadedModel
) -> None:
    crashing = partial(IsolatedBackend, command=[sys.executable, "-c", "import os; os.abort()"])
    run = verify(build, config, model, Progress(quiet=True), measure_speed=no_speed, open_runtime=crashing)
    status = {item.name: item.status for item in run.backends}
    assert status == {"reference": "ok", "oracle": "ok", "onnxruntime": "failed"}
    assert run.accuracy.keys() == {"float", "reference", "oracle"}
    judged, _ = gates.check(run, (), config.verify.gates, config.quantize)
    agreement = next(gate for gate in judged if gate.name == "agreement")
    assert not agreement.passed
    assert "SIGABRT" in agreement.message
