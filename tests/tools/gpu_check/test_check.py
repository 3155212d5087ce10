"""`make gpu-check`: its rows, its page, and what it does where a check fails or there is no GPU."""

import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from genq_export.core.workspace import Workspace
from genq_export.runtimes.torch_modules import TorchBackend, oracle_backend
from runtime_tests.verify.results import BackendFidelity, BackendRun, Evaluation, Verification, VerifyFile
from tools.gpu_check import check
from tools.gpu_check.check import Row
from tools.gpu_check.generation import SMALL, Shape, images_per_second

# What a verification without any result holds.
MEASURED: dict[str, Any] = {
    "machine": {"name": "m", "cpu": "c", "cores": 2, "memory_gib": 4, "system": "s"}, "date": "", "artefacts": {},
    "versions": {}, "deployed": "tensorrt", "evaluation": None, "backends": (), "accuracy": {}, "agreement": {},
    "layers": (), "fidelity": (),
}  # fmt: skip


def test_without_a_gpu_the_page_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    page = tmp_path / "gpu.md"
    page.write_text("as it was")
    assert check.main(["--page", str(page)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: the checks need an NVIDIA GPU")
    assert page.read_text() == "as it was"


def test_the_oracle_check_compares_every_code(build: Path) -> None:
    row = check.oracle_row(build, "cpu", 16)
    assert row.passed and row.figure.startswith("0 of ") and "on 16 images" in row.figure

    def off_by_one(folder: Path, device: str) -> TorchBackend:
        backend = oracle_backend(folder)
        next(part for part in backend.module.modules() if hasattr(part, "weight_codes")).weight_codes[0] += 1
        return backend

    assert check.oracle_row(build, "other", 16, off_by_one).passed is False


def test_a_check_is_a_process_that_prints_its_rows(build: Path) -> None:
    command = [sys.executable, "-m", "tools.gpu_check.check", "--only", "oracle", "--device", "cpu", "--images", "16"]
    code, output, error = check.run_command([*command, "--build", str(build)], time.monotonic() + 100)
    assert code == 0, error
    (row,) = json.loads(output)
    assert row["passed"] and "codes differ on 16 images" in row["figure"]


def test_checks_that_crash_or_hang_are_rows_and_others_go_on() -> None:
    def run(command: list[str], deadline: float) -> tuple[int | None, str, str]:
        name = command[command.index("--only") + 1]
        if name == "quantize":
            build = Path(command[command.index("--build") + 1])
            build.mkdir()
            (build / "model.safetensors").touch()
        if name == "oracle":
            return -6, "", "Aborted"
        if name == "engine":
            return None, "", "stopped at the end of the 360 s of all checks"
        if name == "generation":
            return 1, "", "ModuleNotFoundError: No module named 'diffusers'"
        return 0, json.dumps([{"check": name, "figure": "1", "passed": True}]), ""

    rows = check.run_all(time.monotonic() + 360, run)
    assert [(row.check, row.passed) for row in rows] == [
        ("quantize", True), ("oracle", False), ("int8", True), ("generation", None), ("engine", False)
    ]  # fmt: skip
    assert rows[1].figure == "Aborted" and rows[3].figure == "not run: No module named 'diffusers'"


def test_nothing_is_compared_where_nothing_was_quantized() -> None:
    rows = check.run_all(time.monotonic() + 360, lambda command, deadline: (1, "", "RuntimeError: out of memory"))
    assert [(row.check, row.passed) for row in rows[:2]] == [("quantize", False), ("oracle", None)]


def test_without_tensorrt_the_engine_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genq_export.runtimes import tensorrt_packages

    monkeypatch.setattr(tensorrt_packages, "engine_builder", lambda: None)
    (row,) = check.run_check("engine", tmp_path / "build", "cuda", 1)
    assert (row.figure, row.passed) == ("not run: no TensorRT for this GPU here", None)


def test_the_quantize_stage_is_timed_and_leaves_what_the_oracle_check_reads(tmp_path: Path) -> None:
    (row,) = check.run_check("quantize", tmp_path / "build", "cpu", 1)
    assert row.passed and re.fullmatch(r"[\d.]+ s for ranges, [\d.]+ s with 10 learned steps a block", row.figure)
    assert check.oracle_row(tmp_path / "build", "cpu", 8).passed


def test_wheels_that_lie_there_are_found_before_what_is_installed(tmp_path: Path) -> None:
    """As on a host without network: `python3 tools/gpu_check`, started in another folder."""
    folder = tmp_path / "tools" / "gpu_check"
    shutil.copytree(check.PAGE.parents[1] / "tools" / "gpu_check", folder)
    (folder / "wheels").mkdir()
    with zipfile.ZipFile(folder / "wheels" / "torch-9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("torch/__init__.py", "raise SystemExit('the one that was copied along')")
    for name in ("genq_export", "runtime_tests"):
        (tmp_path / name).symlink_to(check.PAGE.parents[1] / name)
    (tmp_path / "tools" / "__init__.py").touch()
    done = subprocess.run([sys.executable, folder], capture_output=True, text=True, check=False, cwd=tmp_path.parent)
    assert done.stderr == "the one that was copied along\n"


def test_time_runs_out_for_a_check_and_is_said() -> None:
    assert check.run_command([sys.executable, "-c", "import time; time.sleep(60)"], time.monotonic() + 0.3)[0] is None
    code, _, error = check.run_command(["never"], time.monotonic() - 1)
    assert code is None and "not run within the 360 s" in error


def test_the_table_replaces_only_what_lies_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    page.write_text(check.PAGE.read_text())
    rows = [Row("a|b", "0 of 9", True), Row("c", "no", False), Row("d", "missing", None)]
    check.write_page(page, rows, 12.3)
    text = page.read_text()
    assert "| a/b | 0 of 9 | ok |" in text and "| c | no | FAILED |" in text and "| d | missing | – |" in text
    assert check.COMMAND in text and f"torch {torch.__version__}" in text
    assert "No figure was measured" not in text and "## What is checked" in text
    check.write_page(page, rows[:1], 1)
    assert page.read_text().count(check.BEGIN) == 1 and "| c |" not in page.read_text()
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lost the marks"):
        check.write_page(page, rows, 1)


def test_engine_rows_say_what_verification_measured(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "build")

    def rows(**changes: Any) -> list[Row]:
        measured = Verification.model_validate(MEASURED | changes)
        workspace.write_json("verify.json", VerifyFile(runs=(measured,)).model_dump(mode="json"))
        return check.engine_rows(workspace.folder)

    backend = BackendRun(name="tensorrt", title="TensorRT 11.0", device="a GPU", status="ok")
    missing = backend.model_copy(update={"status": "missing", "detail": "TensorRT is not installed"})
    assert rows(backends=(missing,)) == [Row("TensorRT engine", "TensorRT is not installed", None)]
    broken = backend.model_copy(update={"status": "failed", "detail": "was stopped by SIGABRT"})
    assert rows(backends=(broken,)) == [Row("TensorRT engine", "was stopped by SIGABRT", False)]
    fidelity = BackendFidelity(
        backend="tensorrt", against="oracle", images=256, codes=1000, differing=1, largest=1, first_diverging="x",
        outputs_largest=0, quantizers=(), explanation="why",
    )  # fmt: skip
    found = rows(
        backends=(backend,), fidelity=(fidelity,), agreement={"tensorrt_vs_reference": 0.99},
        evaluation=Evaluation(name="test", n=10000, labelled=True), notes=("latency was not measured",),
    )  # fmt: skip
    assert [row.passed for row in found] == [True, False, False, False]
    assert found[1].figure == "1 of 1,000 codes differ, by at most 1; first at x: why"


def test_generation_is_timed_on_any_device_and_shape() -> None:
    assert images_per_second("cpu", torch.float32, SMALL, 16, 3, 2) > 0


def test_the_timed_architecture_is_stable_diffusions() -> None:
    """The published sizes: 859.5 million parameters in the U-Net, 83.7 million in the autoencoder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        sizes = [
            sum(part.numel() for part in network.parameters())
            for network in (UNet2DConditionModel(**Shape().unet), AutoencoderKL(**Shape().vae))
        ]
    assert sizes == [859_520_964, 83_653_863]


def test_the_int8_check_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.gpu_check import int8

    monkeypatch.setattr(int8, "check", lambda device, *size: [(f"int8 on {device}", "0 of 5 codes differ", True)])
    assert check.run_check("int8", None, "cpu", 1) == [Row("int8 on cpu", "0 of 5 codes differ", True)]


def test_the_command_says_two_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = subprocess.run([sys.executable, "-m", "tools.gpu_check.check"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
