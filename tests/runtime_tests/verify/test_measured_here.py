"""Which runs count as this machine's own."""

from pathlib import Path

import pytest

from genq_export.core.errors import UserError
from runtime_tests.verify.measured_here import is_measured_here, machine_name, remember
from runtime_tests.verify.results import Machine, Verification
from tests.runtime_tests.measured import run, score


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verification:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return run(machine=Machine(name=machine_name(), cpu="c", cores=2, memory_gib=4, system="s"))


def test_a_run_is_known_again_from_its_file(here: Verification) -> None:
    assert not is_measured_here(here)
    remember(here)
    assert is_measured_here(here)
    assert is_measured_here(Verification.model_validate_json(here.model_dump_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": {"float": score(0.99)}},
        {"artefacts": {"model.onnx": "another"}},
        {"constants": None},
        {"fidelity": ()},
        {"date": "2020-01-01"},
        {"notes": ("a note",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_figure_that_somebody_changed_was_not_measured_here(here: Verification, change: dict[str, object]) -> None:
    remember(here)
    assert not is_measured_here(here.model_copy(update=change))


def test_machines_that_share_a_home_folder_are_told_apart(here: Verification) -> None:
    there = here.model_copy(update={"machine": here.machine.model_copy(update={"name": "another"})})
    remember(there)
    assert not is_measured_here(there)


def test_nothing_is_kept_in_the_current_folder(
    here: Verification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The XDG specification has a relative path ignored; a build folder may be the current one."""
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    remember(here)
    assert list((tmp_path / "current").iterdir()) == [] and is_measured_here(here)
    (note,) = (tmp_path / "home" / ".local" / "state" / "genq-export" / "measured").iterdir()
    assert note.read_bytes() == b""


def test_where_it_cannot_be_noted_it_is_said(
    here: Verification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        remember(here)
    assert not is_measured_here(here)
