"""The parameters of the commands are those of the config models, whatever these have."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from genq_export.cli.options import Given, with_options
from genq_export.cli.options_table import with_tables
from genq_export.config.base import Frozen, OneOf, Option
from genq_export.config.build import BuildConfig
from genq_export.config.settings import parameters

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
COMMANDS = ("build", "calibrate", "quantize", "verify", "audit", "inspect")


class Inner(Frozen):
    patience: Annotated[int, Option(("build", "verify"))] = Field(3, ge=1, le=9, description="how long to wait")
    mood: Annotated[Literal["calm", "wild"], Option(("build",))] = Field("calm", description="of it")
    friend: Annotated[str | None, OneOf("friend", lambda: FRIENDS), Option(("build",))] = Field(
        None, description="by name"
    )
    calm: Annotated[bool, Option(("build",))] = Field(True, description="no haste")
    names: Annotated[tuple[str, ...], Option(("build",), flags=("-n", "--name"))] = Field((), description="of things")


class Scratch(BuildConfig):
    """A build with options that no build has."""

    inner: Inner = Inner()


FRIENDS = ["ada"]
told: list[dict[str, Any]] = []
program = typer.Typer()


@program.command()
@with_options("build", Scratch)
def build(*, model: str, given: Given, loud: bool = False) -> None:
    """Build nothing."""
    told.append(given)


@program.command()
@with_options("verify", Scratch)
def verify(*, given: Given) -> None:
    """Verify nothing."""


def test_a_field_is_an_option_with_its_help_bounds_and_default() -> None:
    text = " ".join(CliRunner().invoke(program, ["build", "--help"], env={"COLUMNS": "300"}).output.split())
    assert "How long to wait. [1 to 9; default: 3]" in text
    assert "calm|wild" in text and "--no-calm" in text and "Of things. [repeatable]" in text
    assert "Bits of weights, where they differ. [2 to 8; default: as --bits]" in text
    text = " ".join(CliRunner().invoke(program, ["verify", "--help"], env={"COLUMNS": "300"}).output.split())
    assert "How long to wait. [1 to 9; default: as in the build folder]" in text and "--mood" not in text


def test_what_is_given_arrives_by_keyword_and_the_rest_does_not() -> None:
    for arguments, expected in (
        ([], {}),
        (["--patience", "5", "--no-calm"], {"patience": 5, "calm": False}),
        (["-n", "a", "--name", "b", "--mood", "wild"], {"names": ["a", "b"], "mood": "wild"}),
    ):
        result = CliRunner().invoke(program, ["build", "net", *arguments])
        assert result.exit_code == 0, result.output
        assert told[-1] == expected
        assert Scratch.for_model("net", **told[-1]).inner == Inner(**expected)


def completions(words: str, program: str = "from genq_export.cli.app import main; main()") -> list[str]:
    """What the shell is answered."""
    environment = {
        "_GENQ_EXPORT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)
    }  # fmt: skip
    code = f"import sys; sys.argv = ['genq-export']; {program}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("genq-export build net --target ", ["onnxruntime", "tensorrt", "openvino"]),
        ("genq-export build net --preset t", ["thorough"]),
        ("genq-export build net --scales ", ["float", "pow2"]),
        ("genq-export quantize folder --preset ", ["quick", "default", "thorough"]),
        ("genq-export audit file --target t", ["tensorrt"]),
        ("genq-export build net --set calibrate.st", ["calibrate.steps=", "calibrate.style="]),
        ("genq-export build net --set calibrate.prompts=", ["calibrate.prompts=class", "calibrate.prompts=mixup"]),
    ],
)
def test_values_are_completed(words: str, expected: list[str]) -> None:
    assert completions(words) == expected


def test_values_of_a_new_field_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.FRIENDS", ["ada", "adele", "grace"])
    command = typer.main.get_command(program).commands["build"]  # type: ignore[attr-defined]
    (friend,) = (part for part in command.params if part.name == "friend")
    context = command.make_context("build", ["net"], resilient_parsing=True)
    assert [item.value for item in friend.shell_complete(context, "ad")] == ["ada", "adele"]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_flag_stands_for_two_options(command: str) -> None:
    flags = [flag for option in parameters(BuildConfig, command) for flag in option.flags]
    assert len(flags) == len(set(flags))


def test_every_command_of_an_option_exists() -> None:
    from genq_export.config.settings import settings_of

    named = {name for setting in settings_of(BuildConfig) for option in setting.options for name in option.commands}
    assert named == set(COMMANDS)


def test_the_page_of_settings_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert with_tables(page) == page, "run `python -m genq_export.cli.options_table docs/configuration.md`"
    scratch = with_tables(page, Scratch)
    assert "| `inner.patience` | `--patience` | whole number, 1 to 9 | `3` | how long to wait |" in scratch
    assert "`inner.patience`" not in page
