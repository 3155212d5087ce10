"""Two processes make the set that one makes, and a rank that died is gone on for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.distributed import Ranks, join_ranks
from tests.calibrate.test_kill import set_hashes, start
from tests.launched import environments

# Joins, exchanges something, and imports what diffusers imports; at exit, when the group is left, names its threads.
_THREADS_AT_EXIT = """
import atexit
from pathlib import Path

atexit.register(lambda: print(*(task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm"))))
from genq_export.core.distributed import join_ranks

assert join_ranks("cpu").broadcast("something") == "something"
import torch.distributed.nn.functional
"""


def launch(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """What `accelerate launch --num_processes 2` starts."""
    children = []
    for environment in environments(2):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            children.append(start(config, folder))
    return children


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(
    tmp_path: Path, make_config: Callable[..., BuildConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(make_config(images=24, batch_size=3, steps=3).to_yaml())
    assert start(config, tmp_path / "one").wait() == 0
    children = launch(config, tmp_path / "two", monkeypatch)
    assert [child.wait() for child in children] == [0, 0]
    assert set_hashes(tmp_path / "two") == set_hashes(tmp_path / "one")

    children = launch(config, tmp_path / "killed", monkeypatch)
    while len(list((tmp_path / "killed").glob("calibration/images/0*.png"))) < 6:
        time.sleep(0.005)
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert [child.wait() for child in launch(config, tmp_path / "killed", monkeypatch)] == [0, 0]
    assert set_hashes(tmp_path / "killed") == set_hashes(tmp_path / "one")


def test_a_single_process_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = join_ranks("cpu")
    assert ranks == Ranks(0, 1) and ranks.is_main and ranks.owns(5) and ranks.broadcast([1]) == [1]


def test_chunks_are_dealt_out_in_turn() -> None:
    shares = [[chunk for chunk in range(7) if Ranks(rank, 3).owns(chunk)] for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed in /proc")
def test_no_thread_of_the_group_is_left_when_the_interpreter_ends() -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _THREADS_AT_EXIT], env=os.environ | environment, stdout=subprocess.PIPE, text=True
        )
        for environment in environments(2)
    ]
    for child in children:
        threads, _ = child.communicate(timeout=120)
        assert child.returncode == 0 and "python" in threads
        assert "gloo" not in threads, "what such a thread frees after the interpreter has ended aborts the process"
