"""A runtime that crashes, hangs, talks nonsense or is missing is one line, and nothing else is harmed."""

import os
import signal
import sys
import tempfile
import threading
import time
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from genq_export.core.errors import BackendError
from genq_export.runtimes.isolation.environment import PYTHON, child_environment
from genq_export.runtimes.isolation.process import IsolatedBackend, Worker
from genq_export.runtimes.isolation.protocol import Channel, EndOfStream, Message
from genq_export.runtimes.onnxruntime import ONNXRUNTIME

ONE = np.zeros((1, 3, 8, 8), np.float32)


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


def test_a_missing_file_or_an_unknown_runtime_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"does not load none\.onnx"):
        IsolatedBackend("onnxruntime", tmp_path / "none.onnx", 60.0)
    with pytest.raises(BackendError, match=r"runtime 'tvm' is not known"):
        IsolatedBackend("tvm", tmp_path / "none.onnx", 60.0)


def test_isolated_logits_and_codes_are_those_of_the_session(qdq_file: Path, images: np.ndarray) -> None:
    own, isolated = ONNXRUNTIME.open(qdq_file, 1), IsolatedBackend("onnxruntime", qdq_file, 60.0, threads=1)
    try:
        outputs, codes = isolated.codes(images)
        expected_outputs, expected_codes = own.codes(images)
        assert np.array_equal(outputs["logits"], expected_outputs["logits"])
        # Watching the codes must not change what the session computes.
        assert np.array_equal(outputs["logits"], isolated.outputs(images)["logits"])
        assert codes.keys() == expected_codes.keys()
        assert all(np.array_equal(codes[name], expected_codes[name]) for name in codes)
        assert (isolated.title, isolated.device) == (own.title, own.device) and isolated.peak_memory_mib() > 10
        assert 0 < isolated.load_ms() < 60_000
    finally:
        isolated.close()
        own.close()


@pytest.fixture
def stopped(qdq_file: Path) -> Worker:
    """A worker whose process is stopped (SIGSTOP) after it has loaded its file."""
    before = set(children())
    process = Worker("onnxruntime", 60.0)
    (number,) = set(children()) - before
    process.ask(Message({"op": "load", "kind": "onnxruntime", "path": str(qdq_file), "threads": 1}))
    os.kill(number, signal.SIGSTOP)
    process.limit = 0.5
    return process


def children() -> list[int]:
    """Processes that this one has started."""
    return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def question(images: int = 1) -> Message:
    return Message({"op": "codes"}, {"batch": np.zeros((images, 3, 8, 8), np.float32)})


def test_a_stopped_backend_fails_alone_and_every_time_for_the_same_reason(stopped: Worker, qdq_file: Path) -> None:
    other = IsolatedBackend("onnxruntime", qdq_file, 60.0, threads=1)
    for _ in range(3):
        with pytest.raises(BackendError, match=r"^onnxruntime did not answer within 0\.5 s and was stopped$"):
            stopped.ask(question())
    stopped.close()
    assert other.outputs(ONE)["logits"].shape == (1, 144)
    other.close()
    with pytest.raises(BackendError, match="onnxruntime has been closed"):
        other.outputs(ONE)["logits"]


def test_after_a_time_out_nothing_is_written_to_descriptors_that_others_opened(stopped: Worker, tmp_path: Path) -> None:
    with pytest.raises(BackendError):
        stopped.ask(question())
    opened = [open(tmp_path / str(number), "w+b") for number in range(30)]  # noqa: SIM115  under the freed numbers
    for images in (1, 64):
        with pytest.raises(BackendError):
            stopped.ask(question(images))
    stopped.close()
    for file in opened:
        file.write(b"ours")
        file.close()
    assert {path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".onnx"} == {b"ours"}


def test_a_closed_channel_says_so(tmp_path: Path) -> None:
    channel = pipe()
    channel.close()
    channel.close()
    for use in (lambda: channel.send(Message({})), channel.receive):
        with pytest.raises(EndOfStream):
            use()


def test_messages_carry_arrays_of_any_size() -> None:
    big = np.arange(3_000_000, dtype=np.float32).reshape(3, 1000, 1000)
    sent = Message({"op": "x"}, {"big": big, "empty": np.zeros((0, 4), np.int8), "scalar": np.array(7, np.int32)})
    channel = pipe()
    thread = threading.Thread(target=channel.send, args=(sent,))
    thread.start()
    received = channel.receive(time.monotonic() + 20)
    thread.join()
    channel.close()
    assert received.fields == {"op": "x"}
    assert all(np.array_equal(received.arrays[name], sent.arrays[name]) for name in sent.arrays)


def pipe() -> Channel:
    """A channel to itself."""
    reading, writing = os.pipe()
    return Channel(FileIO(reading, "rb"), FileIO(writing, "wb"))


def test_descriptors_of_any_number_are_waited_for() -> None:
    """`select` refuses numbers from 1024 on."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1050)]
    try:
        channel = pipe()
        channel.send(Message({"op": "x"}))
        assert channel.receive(time.monotonic() + 5).fields == {"op": "x"}
        channel.close()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("entry", ["", ".", None])
def test_a_module_in_the_current_folder_is_never_imported(
    qdq_file: Path, monkeypatch: pytest.MonkeyPatch, entry: str | None
) -> None:
    """Not even where PYTHONPATH asks for the folder that happens to be current."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("onnx", "numpy", "onnxruntime", "genq_export", "json"):
            (Path(place) / f"{name}.py").write_text(f"open({str(Path(place) / 'ran')!r}, 'a').write({name!r})\n")
        monkeypatch.chdir(place)
        if entry is not None:
            monkeypatch.setenv("PYTHONPATH", os.pathsep.join([entry, *filter(None, [os.environ.get("PYTHONPATH")])]))
        backend = IsolatedBackend("onnxruntime", qdq_file, 60.0, threads=1)
        assert backend.codes(ONE)[1].keys() == {"input", "act"}
        backend.close()
        assert not (Path(place) / "ran").exists()
        monkeypatch.chdir("/")


def test_only_named_variables_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_TOKEN", "PYTHONSTARTUP", "PYTHONINSPECT", "LD_PRELOAD"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = child_environment()
    assert found["CUDA_VISIBLE_DEVICES"] == "1" and found["PYTHONSAFEPATH"] == "1" and "-P" in PYTHON
    assert not {"SECRET_TOKEN", "PYTHONSTARTUP", "PYTHONINSPECT", "LD_PRELOAD"} & found.keys()
    assert all(os.path.isabs(part) for part in found["PYTHONPATH"].split(os.pathsep))


def test_a_worker_without_a_network_says_so() -> None:
    process = Worker("runtime", 60.0)
    try:
        with pytest.raises(BackendError, match="no network loaded"):
            process.ask(Message({"op": "outputs"}, {"batch": ONE}))
    finally:
        process.close()
