"""A backend that stops answering in the middle of a verification is that backend's failure alone."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.isolation.process import IsolatedBackend
from runtime_tests.verify import run as verify
from runtime_tests.verify.speed import Speed


def test_the_others_go_on(
    build: Workspace, config: BuildConfig, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, before = IsolatedBackend.logits, children()

    def stopped(backend: IsolatedBackend, batch: np.ndarray) -> np.ndarray:
        """Its process is stopped (SIGSTOP) while the images go through it; codes are asked for afterwards."""
        for process in children() - before:
            os.kill(process, signal.SIGSTOP)
        return answer(backend, batch)

    monkeypatch.setattr(IsolatedBackend, "logits", stopped)
    monkeypatch.setattr(verify, "measure_speed", lambda *_: Speed())
    values = config.model_dump()
    values["verify"] |= {"time_limit": 8.0}
    run = verify.verify(build, BuildConfig.parse(values), model, Progress(quiet=True))
    found = {item.name: (item.status, item.detail) for item in run.backends}
    assert found["onnxruntime"] == ("failed", "onnxruntime did not answer within 8 s and was stopped")
    assert found["reference"][0] == found["oracle"][0] == "ok"
    assert run.accuracy.keys() == {"float", "reference", "oracle"} and run.layers
    assert [item.backend for item in run.fidelity] == ["reference"] and run.fidelity[0].differing == 0


def children() -> set[int]:
    """Processes that this one has started, whichever of its threads did."""
    return {int(number) for task in Path("/proc/self/task").glob("*/children") for number in task.read_text().split()}
