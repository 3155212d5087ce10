"""`genq-export verify` says what the run comes to, and its exit code agrees."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from genq_export.cli.program import app
from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace
from genq_export.runtimes.isolation.process import IsolatedBackend
from runtime_tests.verify import stage
from runtime_tests.verify.constants import Constants
from runtime_tests.verify.verify_file import read_verification
from tests.runtime_tests.conftest import Edit
from tests.runtime_tests.measured import no_speed
from tests.runtime_tests.verify.test_failing_backend import children


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "run_verify", partial(stage.run_verify, measure_speed=no_speed))


def verify(build: Workspace, config: BuildConfig, **settings: object) -> int:
    values = config.model_dump(mode="json")
    values["verify"] |= settings
    build.write_config(BuildConfig.parse(values).to_yaml().encode())
    return int(app(["verify", str(build.folder), "-q"], standalone_mode=False) or 0)


def test_a_good_build_passes(build: Workspace, config: BuildConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(build, config) == 0
    said = capsys.readouterr()
    assert said.out.startswith("passed  fashion_resnet") and "not measured here" not in said.out and said.err == ""


def test_a_failed_gate_is_said(build: Workspace, config: BuildConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(build, config, gates={"max_accuracy_loss": -100}) == 1
    assert capsys.readouterr().out.startswith("failed  fashion_resnet")


def test_a_file_that_was_cut_off_fails(
    build: Workspace, config: BuildConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    content = build.path("model.onnx").read_bytes()
    build.path("model.onnx").write_bytes(content[: len(content) // 2])
    assert verify(build, config) == 1
    said = capsys.readouterr()
    assert said.out.startswith("failed  fashion_resnet") and "model.onnx is not the file that 'export' left" in said.err


def test_a_harmless_change_of_the_file_is_one_all_the_same(
    plant: Callable[[Edit], Workspace], config: BuildConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every gate is met, but these are not the bytes that were exported."""

    def edit(model: onnx.ModelProto, _: Constants) -> None:
        model.doc_string = "a remark"

    assert verify(plant(edit), config) == 1
    said = capsys.readouterr()
    assert said.out.startswith("passed") and "has changed since it was built" in said.err


@pytest.mark.parametrize(
    ("hurt", "detail"), [(signal.SIGSTOP, "did not answer within 8 s"), (signal.SIGKILL, "SIGKILL")]
)
def test_a_runtime_beside_the_deployed_one_that_dies_fails_alone(
    build: Workspace,
    config: BuildConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hurt: signal.Signals,
    detail: str,
) -> None:
    """It is hurt while codes are compared; descriptors are opened under the numbers of its pipes meanwhile."""
    answer, processes = IsolatedBackend.codes, children()
    opened: list[int] = []

    def hurt_then_asked(backend: IsolatedBackend, batch: np.ndarray) -> object:
        if backend.name == "onnxruntime-unfused" and not opened:
            started = sorted(children() - processes)
            os.kill(started[-1], hurt)  # the second of the two that were opened
            opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(20))
        return answer(backend, batch)

    monkeypatch.setattr(IsolatedBackend, "codes", hurt_then_asked)
    names = ["reference", "oracle", "onnxruntime", "onnxruntime-unfused"]
    try:
        assert verify(build, config, time_limit=8.0, backends=names) == 1
    finally:
        for number in opened:
            os.close(number)
    run = read_verification(build).runs[-1]
    found = {item.name: item.status for item in run.backends}
    assert found == {name: "ok" for name in names[:3]} | {"onnxruntime-unfused": "failed"}
    said = capsys.readouterr().out
    assert said.startswith("failed  fashion_resnet") and detail in said
    assert run.accuracy.keys() >= {"float", "reference", "onnxruntime"}
    assert {item.backend for item in run.fidelity} == {"reference", "onnxruntime"}


def test_what_another_machine_measured_does_not_pass_here(
    build: Workspace, config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The same folder on a machine that has measured nothing; then verified there."""
    assert verify(build, config) == 0
    host = read_verification(build).runs[-1].machine.name
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state of another"))
    capsys.readouterr()
    app(["report", str(build.folder), "-q"], standalone_mode=False)
    assert capsys.readouterr().out.startswith(f"Reported by {host} on 2")
    assert verify(build, config) == 0
    capsys.readouterr()
    app(["report", str(build.folder), "-q"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("passed")
