"""A peer's script of `peer_tools/`, run in an environment and a process of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class PeerError(Exception):
    """A tool did not get to a result; the message is its own last line."""


def run_peer(python: Path, script: str, folder: Path, job: dict[str, Any], minutes: float) -> dict[str, Any]:
    """Write the job, run the script, and read what it cost.

    Args:
        python: Of the peer's environment.
        script: Its name in `peer_tools/`, without the ending.
        folder: There already; gets `job.json`, the tool's `log.txt` and everything that the script writes.
        job: The fields of `peer_tools/job.py`'s Job but the folder.
        minutes: It may take.

    Returns:
        `facts.json`: seconds of processor time, and the settings in words.

    Raises:
        PeerError: where the script fails or takes too long.
    """
    (folder / "job.json").write_text(json.dumps(job))
    search = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [str(python.absolute()), str(HERE / "peer_tools" / f"{script}.py"), str(folder.resolve())]
    with open(folder / "log.txt", "w") as log:
        try:
            subprocess.run(
                command, env=os.environ | {"PYTHONPATH": search}, stdout=log, stderr=log, check=True,
                timeout=60 * minutes, cwd=folder,  # tools leave files where they are run
            )  # fmt: skip
        except FileNotFoundError:
            raise PeerError(f"{python} is not there") from None
        except subprocess.CalledProcessError:
            raise PeerError(_last_line(folder / "log.txt")) from None
        except subprocess.TimeoutExpired:
            raise PeerError(f"not done after {minutes:g} minutes") from None
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the process ended without a word"
