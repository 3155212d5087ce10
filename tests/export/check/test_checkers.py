"""The programs of the check folder: they pass on the file that was built, and name what is wrong with any other."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from tests.export.check.damage import Damage, flip_weight, remove_clip


def run_check(build: Path) -> tuple[int, dict[str, object], str]:
    """Run `check.py` as a person does; exit code, result, and what was said on the error stream."""
    result = build / "result.json"
    command = [sys.executable, build / "check" / "check.py", "--runs", "3", "--output", result]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(result.read_text()) if result.is_file() else {}, done.stderr


def test_the_file_that_was_built_has_the_same_codes(build: Path) -> None:
    code, result, _ = run_check(build)
    assert code == 0
    assert result["verdict"] == "same codes"
    assert result["outputs_equal"] or result["outputs_largest_gap"] < 1e-3  # type: ignore[operator]
    assert result["note"] == ""
    assert sum(path.stat().st_size for path in (build / "check").iterdir()) < 1_000_000


@pytest.mark.parametrize("damage", [flip_weight, remove_clip])
def test_a_changed_file_is_told_with_the_first_quantizer(build: Path, damage: Damage) -> None:
    model = onnx.load(build / "model.onnx")
    name = damage(model)
    onnx.save(model, build / "model.onnx")
    code, result, _ = run_check(build)
    assert code == 1 or result["verdict"] == "same within its tolerance"
    assert result["quantizers_unlike"]
    assert result["first_unlike"] == name
    assert result["note"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_data(check: Path) -> None:
    cut(check / "golden.bin")


def cut_golden(check: Path) -> None:
    cut(check / "golden.json")


@pytest.mark.parametrize(
    "spoil",
    [
        cut_data,
        cut_golden,
        lambda check: (check / "golden.bin").write_bytes(np.zeros(10, np.uint8).tobytes()),
        lambda check: (check / "probes.bin").unlink(),
        lambda check: (check / "golden.json").write_text("{}"),
        lambda check: (check / "golden.json").write_text("[]"),
        lambda check: os.truncate(check / "probes.bin", 100),
        lambda check: os.truncate(check.parent / "model.onnx", 10_000),
    ],
)
def test_golden_data_that_is_not_whole_is_told(build: Path, spoil: Callable[[Path], object]) -> None:
    spoil(build / "check")
    code, result, said = run_check(build)
    assert code == 1 and not result
    assert re.search(r"copy (the whole check folder|model.onnx and check/) again", said)
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--output", "nowhere/result.json", "there is no folder"), ("--float", "none.onnx", "No such file"),
        ("--runs", "-1", "no number from 0 on"), ("--threads", "many", "no number from 0 on"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_followed_is_one_line(build: Path, option: str, value: str, words: str) -> None:
    command = [sys.executable, build / "check" / "check.py", option, value]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=build)
    assert done.returncode and words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def of_another_build(check: Path) -> None:
    """Golden data that is whole, of images whose pixels are others."""
    golden, data = json.loads((check / "golden.json").read_bytes()), bytearray((check / "golden.bin").read_bytes())
    pixels = slice(golden["pixels"], golden["pixels"] + int(np.prod(golden["shape"])) * golden["images"])
    data[pixels] = bytes(255 - level for level in data[pixels])
    golden |= {"data": hashlib.sha256(data).hexdigest(), "model": "0" * 64}
    (check / "golden.json").write_text(json.dumps(golden))
    (check / "golden.bin").write_bytes(data)


def test_another_builds_golden_data_is_told_from_the_first_quantizer_on(build: Path) -> None:
    of_another_build(build / "check")
    code, result, _ = run_check(build)
    names = [item["name"] for item in json.loads((build / "check/golden.json").read_bytes())["quantizers"]]
    assert code == 1
    assert result["verdict"] == "other codes"
    assert result["first_unlike"] == names[0] and result["first_unlike_by"]
    assert result["note"] == "this is not the file that was made with this check"


def test_no_room_no_check(tmp_path: Path, pristine: Path) -> None:
    config = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick", settings=["export.check_size=0"])
    build = Path(shutil.copytree(pristine, tmp_path / "without", ignore=shutil.ignore_patterns("check")))
    from export.check.write import write_check
    from genq_export.network.files import load_integer_model

    model = load_model(config.model)
    assert write_check(Workspace.existing(build), config, model, load_integer_model(build), []) == []
    assert not (build / "check").exists()


@pytest.fixture
def node() -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """Runs `check.mjs`. Needs `npm install onnxruntime-node` in the current folder or above it."""
    found = shutil.which("node") and subprocess.run(["node", "-e", "require('onnxruntime-node')"], capture_output=True)
    if not found or found.returncode:
        pytest.skip("node or its package onnxruntime-node is not installed")
    return lambda build: subprocess.run(
        ["node", build / "check" / "check.mjs", "--runs", "1", "--output", build / "node.json"],
        capture_output=True,
        text=True,
        timeout=300,
    )


Node = Callable[[Path], subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [cut_golden, cut_data])
def test_node_tells_golden_data_that_was_cut(build: Path, spoil: Callable[[Path], None], node: Node) -> None:
    spoil(build / "check")
    done = node(build)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot check: golden.json or golden.bin is damaged")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, flip_weight, remove_clip, of_another_build])
def test_node_says_the_same(build: Path, damage: Damage | None, node: Node) -> None:
    if damage is of_another_build:
        of_another_build(build / "check")
    elif damage is not None:
        model = onnx.load(build / "model.onnx")
        damage(model)
        onnx.save(model, build / "model.onnx")
    _, expected, _ = run_check(build)
    node(build)
    told = json.loads((build / "node.json").read_text())
    for name in ("verdict", "quantizers_unlike", "first_unlike", "first_unlike_codes", "first_unlike_by"):
        assert told[name] == expected[name]
