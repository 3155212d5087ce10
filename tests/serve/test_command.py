"""The command from its first line to Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[2]


def test_the_command_shows_a_link_and_ends_with_ctrl_c(pristine: Path, web_once: Path) -> None:
    command = [sys.executable, "-m", "genq_export", "serve", pristine, "--port", "0", "--ort-web", web_once]
    paths = os.pathsep.join([str(TREE), os.environ.get("PYTHONPATH", "")])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests may ignore it
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        link = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert link.startswith("http://127.0.0.1:") and "/#" in link
    assert process.returncode == 0
    assert said.splitlines() == [
        "serve: fashion_resnet W4A4 with onnxruntime-web 1.30.0; Ctrl-C ends it",
        "serve: stopped",
    ]
