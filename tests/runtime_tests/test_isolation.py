"""A runtime that crashes, hangs, talks nonsense or is missing is one line; the others go on."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BackendError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.isolation import process
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.isolation.protocol import Channel, Message
from runtime_tests.verify import run as verify
from runtime_tests.verify.speed import Speed


def worker(body: str) -> list[str]:
    return [sys.executable, "-c", body]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import os; os.abort()", "was stopped by SIGABRT"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("print('x' * 8, flush=True)", "ended with exit code 0"),
        ("import sys; sys.stderr.write('out of memory\\n'); raise SystemExit(1)", "out of memory"),
    ],
)
def test_a_dying_worker_is_reported(body: str, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        IsolatedBackend("runtime", Path("model.onnx"), 20.0, command=worker(body))


def test_a_hanging_worker_is_stopped_at_its_limit() -> None:
    start = time.monotonic()
    with pytest.raises(BackendError, match=r"did not answer within 0\.6 s"):
        IsolatedBackend("runtime", Path("model.onnx"), 0.6, command=worker("import time; time.sleep(60)"))
    assert time.monotonic() - start < 10


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"does not load none\.onnx"):
        IsolatedBackend("onnxruntime", tmp_path / "none.onnx", 60.0)


def test_isolated_logits_and_codes_are_those_of_the_session(pristine_build: Path, images: np.ndarray) -> None:
    from genq_export.runtimes.backends import OnnxRuntimeBackend

    path = pristine_build / "model.onnx"
    own, isolated = OnnxRuntimeBackend(path, threads=1), IsolatedBackend("onnxruntime", path, 60.0, threads=1)
    try:
        logits, codes = isolated.codes(images)
        expected_logits, expected_codes = own.codes(images)
        assert np.array_equal(logits, expected_logits)
        # Watching the codes must not change what the session computes.
        assert np.array_equal(logits, isolated.logits(images))
        assert codes.keys() == expected_codes.keys()
        assert all(np.array_equal(codes[name], expected_codes[name]) for name in codes)
        assert isolated.peak_memory_mib() > 10
    finally:
        isolated.close()
        own.close()


def test_wire_carries_arrays_of_any_size(tmp_path: Path) -> None:
    import os
    import threading

    reading, writing = os.pipe()
    big = np.arange(3_000_000, dtype=np.float32).reshape(3, 1000, 1000)
    sent = Message({"op": "x"}, {"big": big, "empty": np.zeros((0, 4), np.int8), "scalar": np.array(7, np.int32)})
    channel = Channel(reading, writing)
    thread = threading.Thread(target=channel.send, args=(sent,))
    thread.start()
    received = channel.receive(time.monotonic() + 20)
    thread.join()
    assert received.fields == {"op": "x"}
    assert all(np.array_equal(received.arrays[name], sent.arrays[name]) for name in sent.arrays)
    os.close(reading)
    os.close(writing)


def test_a_crashing_runtime_fails_its_gate_and_nothing_else(
    build: Workspace, config: BuildConfig, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_tests.verify import gates

    monkeypatch.setattr(process, "_WORKER", worker("import os; os.abort()"))
    monkeypatch.setattr(verify, "measure_speed", lambda *_: Speed())
    run = verify.verify(build, config, model, Progress(quiet=True))
    status = {item.name: item.status for item in run.backends}
    assert status == {"reference": "ok", "oracle": "ok", "onnxruntime": "failed"}
    assert run.accuracy.keys() == {"float", "reference", "oracle"}
    judged, _ = gates.check(run, None, config.verify.gates, config.quantize)
    agreement = next(gate for gate in judged if gate.name == "agreement")
    assert not agreement.passed
    assert "SIGABRT" in agreement.sentence
