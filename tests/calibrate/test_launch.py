"""The command line under `accelerate launch`: two processes, one set, and every other stage only once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.pipeline.build import run_stages
from tests.calibrate.test_kill import set_hashes

SMALL = ("--images", "20", "--set", "calibrate.steps=3", "--set", "calibrate.batch_size=4", "--preset", "quick")
DEADLINE = 300  # seconds for what takes twenty on an idle machine


def launch(command: str, folder: Path) -> subprocess.Popen[str]:
    """Start `accelerate launch --multi_gpu --num_processes 2 -m genq_export COMMAND fashion_resnet …`.

    Not through the `accelerate` script, whose other subcommands import what need not work here.
    """
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    arguments = ["-m", "genq_export", command, "fashion_resnet", "-o", str(folder), *SMALL]
    return subprocess.Popen(
        [*launcher, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def finish(launcher: subprocess.Popen[str]) -> str:
    output, _ = launcher.communicate(timeout=DEADLINE)
    assert launcher.returncode == 0, output
    return output


def rank_process(launcher: subprocess.Popen[str], rank: int) -> int:
    """Process id of one rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    found = [pid for pid in children if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text()]
    return int(found[0])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set that one process makes."""
    folder = tmp_path_factory.mktemp("alone") / "build"
    config = BuildConfig.for_model("fashion_resnet", preset="quick", images=20, settings=SMALL[3:6:2])
    assert run_stages(config, folder, ("calibrate",), Progress(quiet=True)) == ("calibrate",)
    return folder


def test_two_processes_of_the_command_line_make_the_set_of_one(alone: Path, tmp_path: Path) -> None:
    output = finish(launch("calibrate", tmp_path / "build"))
    assert output.count("calibrate: done") == 1 and "Traceback" not in output
    assert set_hashes(tmp_path / "build") == set_hashes(alone)
    stages = Workspace.existing(tmp_path / "build").read_manifest().stages
    assert list(stages) == ["calibrate"]
    assert len(set_hashes(alone)) > 27, "images, metadata, contact sheet and card"


@pytest.mark.slow
def test_a_rank_that_is_killed_is_gone_on_for_and_the_build_is_finished_by_one(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    launcher = launch("build", folder)
    until = time.monotonic() + DEADLINE
    while len(list(folder.glob("calibration/images/0*.png"))) < 8 and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(rank_process(launcher, 1), signal.SIGKILL)
    launcher.communicate(timeout=DEADLINE)
    assert launcher.returncode != 0 and not (folder / "calibration" / "metadata.jsonl").exists()

    output = finish(launch("build", folder))
    assert output.count("report: ") == 1, "one process reports"
    assert set_hashes(folder) == set_hashes(alone)
    stages = Workspace.existing(folder).read_manifest().stages
    assert list(stages) == ["calibrate", "quantize", "export", "verify", "report"]

    assert "nothing to do" in finish(launch("build", folder))
