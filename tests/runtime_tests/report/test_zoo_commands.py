"""Every network of the zoo for both targets through the command line: build, verify again, report, compare."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genq_export import zoo

TARGETS = ("onnxruntime", "tensorrt")


def genq(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "genq_export", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the builds lie side by side: a set drawn for one target serves the other."""
    return tmp_path_factory.mktemp("builds")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", zoo.ZOO_MODELS)
def test_from_network_to_report(name: str, target: str, builds: Path, few_images: Path) -> None:
    folder = builds / f"{name}-{target}"
    # Ranges only, and 160 images: accuracy gets the room that these need, everything else is judged as ever.
    built = genq(
        "build", name, "--target", target, "--preset", "quick", "--images", "64", "--eval", few_images, "-o", folder,
        "--set", "verify.latency_runs=10", "--set", "verify.fidelity_images=64", "--set",
        "verify.gates.max_accuracy_loss=15", "--json",
    )  # fmt: skip
    assert built.returncode == 0, built.stderr + built.stdout
    report = json.loads(built.stdout.splitlines()[-1])["report"]
    assert report["passed"] and report["run"]["constants"] == []
    fidelity = {item["backend"]: item for item in report["run"]["fidelity"]}
    assert fidelity["reference"]["differing"] == 0, "the oracle is the reference on every code"
    assert report["run"]["deployed"] in fidelity
    assert {"report.html", "report.json", "layers.csv", "summary.md"} <= {path.name for path in folder.iterdir()}

    again = genq("verify", folder, "--backend", "reference", "--backend", report["run"]["deployed"], "-q")
    assert again.returncode == 0, again.stderr
    told = genq("report", folder, "--markdown")
    assert told.returncode == 0 and told.stdout.startswith(f"### Passed: {name}, W4A4"), told.stdout
    if target == TARGETS[1]:
        compared = genq("report", builds / f"{name}-{TARGETS[0]}", folder)
        assert compared.returncode == 0 and "the targets differ" in compared.stdout.replace("\n", " ")
