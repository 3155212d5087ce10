"""From `pip install` to the INT8 file of one's own network: the three commands that it takes, run in a new environment.

    python -m tools.first_file --wheel dist/genq_export-0.2.0-py3-none-any.whl

One's own network is an ONNX file that lies in the folder, a small ResNet as `torch.onnx.export` leaves it. The commands
and the wall time of each are printed, a line each, and what the file is in the end. `--wheel` and `--torch` stand for
what a package index has under `genq-export[quantize]`: nothing comes from the source tree.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from genq_export.core.imports import install_torchvision_hook

NETWORK, BUILD = "net.onnx", "int8"
_OPTIONS = "--bits 8 --preset quick --mean 0.5 --std 0.5"


@dataclass(frozen=True)
class Step:
    """A command and the seconds that it took."""

    command: str
    seconds: float


def main() -> None:
    """Run and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", required=True, type=Path)
    parser.add_argument("--torch", nargs="*", default=[], help="further requirements, such as torch==2.13.0+cpu")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        steps = first_file(options.wheel.resolve(), options.torch, Path(folder))
        for step in steps:
            print(f"{step.seconds:7.1f} s  {step.command}")
        report = json.loads((Path(folder) / BUILD / "report.json").read_text())
        size = (Path(folder) / BUILD / "model.onnx").stat().st_size
        print(f"{sum(step.seconds for step in steps):7.1f} s  in all: {size:,} bytes, {report['verdict']}")


def first_file(wheel: Path, further: list[str], folder: Path) -> list[Step]:
    """Run the commands in a folder that holds nothing but a network.

    Args:
        wheel: of genq-export.
        further: requirements that are installed with it.
        folder: empty.

    Raises:
        subprocess.CalledProcessError: where a command fails; a gate of the build that fails (exit code 1) is none.
    """
    write_network(folder / NETWORK)
    wanted = shlex.join([f"{wheel}[quantize]", *further])
    commands = (
        "python -m venv env",
        f"env/bin/pip install --quiet {wanted}",
        f"env/bin/genq-export build {NETWORK} {_OPTIONS} --quiet -o {BUILD}",
    )
    python, steps = shlex.quote(sys.executable), []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for number, command in enumerate(commands):
        started = time.perf_counter()
        line = command.replace("python ", f"{python} ", 1) if number == 0 else command
        done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode not in ((0, 1) if number == 2 else (0,)):
            sys.stderr.write(done.stdout + done.stderr)
            done.check_returncode()
        steps.append(Step(command, time.perf_counter() - started))
    return steps


def write_network(place: Path) -> None:
    """A ResNet of random weights for 64 x 64 pixels."""
    install_torchvision_hook()
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=10).eval()
    torch.onnx.export(network, (torch.zeros(1, 3, 64, 64),), place, dynamo=True, verbose=False, external_data=False)


if __name__ == "__main__":
    main()
