"""Packages of PyPI and npm in folders of their own, programs in them, and the line in which one says why it ended."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 900
_LONGEST = 220  # letters of a reason

# Names of nodes, kinds of exceptions and folders: what differs between files that are refused for the same reason.
_NOISE = re.compile(
    r"(?<=name )'[^']*'|(?<=node:)'[^']*'|/\S*/|\[ONNXRuntimeError\] : \d+ : "
    r"|\(\d+ vs\. \d+\) |: %\d+ = .*"
    r"|^\S*(Error|Fail|Exception|NotImplemented)\S*: "
)


def install(work: Path, packages: Sequence[str], npm: bool) -> Path:
    """The folder with packages of PyPI (a virtual environment) or of npm, once; what was half installed is made anew.

    Args:
        work: the folder is made below its `environments`, named by the first package.
        packages: `iree-base-compiler[onnx]==3.13.0`, of npm `onnxruntime-node@1.30.0`.
        npm: of npm.
    """
    environment = work / "environments" / _folder_name(packages[0])
    done = environment / "complete"
    if done.exists():
        return environment
    shutil.rmtree(environment, ignore_errors=True)
    environment.mkdir(parents=True)
    if npm:
        command = ["npm", "install", "--silent", "--ignore-scripts", "--prefix", environment, *packages]
        in_own_environment(command, environment)
    else:
        in_own_environment([sys.executable, "-m", "venv", environment], environment)
        in_own_environment([environment / "bin" / "python", "-m", "pip", "install", "-q", *packages], environment)
    done.touch()
    return environment


def install_npm(work: Path, package: str) -> Path:
    """`install` of one package of npm."""
    return install(work, [package], npm=True)


def in_own_environment(
    command: Sequence[object],
    folder: Path,
    settings: dict[str, str] | None = None,
    seconds: int = _SECONDS,
    accepted: Sequence[int] = (0,),
) -> str:
    """Run a program in a folder, without this Python's paths; what it printed.

    Args:
        command: program and arguments.
        folder: the current folder of the program.
        settings: further environment variables.
        seconds: it may take.
        accepted: exit codes.

    Raises:
        subprocess.SubprocessError: for another exit code, and where it takes longer.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=own | {"RUST_BACKTRACE": "0"} | (settings or {}),
        timeout=seconds, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode not in accepted:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


def reason_of(error: subprocess.SubprocessError) -> str:
    """The line in which a process says why it ended."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:.0f} s"
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    if error.returncode < 0:
        return f"crashed (signal {-error.returncode})"
    lines = [line.strip() for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
    told = (
        [line for line in lines if "rror" in line or "xception" in line] or lines or [f"exit code {error.returncode}"]
    )
    reason = _NOISE.sub("", told[-1]).strip()
    return reason if len(reason) <= _LONGEST else f"…{reason[-_LONGEST:]}"


def _folder_name(package: str) -> str:
    """`iree-base-compiler[onnx]==3.13.0` -> `iree-base-compiler-3.13.0`"""
    name, version = re.split("==|@", package)
    return f"{name.split('[')[0]}-{version}"
