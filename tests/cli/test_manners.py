"""What the command line does for people who have not read the documentation, and for programs."""

import json

import pytest
from typer.main import get_command

from genq_export.cli.program import EXIT_CODES, app
from tests.cli.conftest import Run

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
WITHOUT_JSON = {"serve"}  # answers until it is stopped


def test_alone_it_greets_with_the_three_commands_that_people_need(run: Run) -> None:
    done = run()
    assert done.returncode == 0 and done.stderr == ""
    for command in ("build", "verify-file", "doctor", "--help", "models"):
        assert f"genq-export {command}" in done.stdout


def test_help_has_the_exit_codes_everywhere(run: Run) -> None:
    assert {command.epilog for command in COMMANDS.values()} == {EXIT_CODES}
    for arguments in ([], ["audit"]):
        assert "130 stopped" in " ".join(run(*arguments, "--help").stdout.split())


def test_every_command_prints_json() -> None:
    lacking = {
        name for name, command in COMMANDS.items() if not any("--json" in option.opts for option in command.params)
    }
    assert lacking == WITHOUT_JSON


@pytest.mark.parametrize("arguments", [["models", "fashion"], ["doctor"]])
def test_json_is_the_last_line(run: Run, arguments: list[str]) -> None:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert rows and all(isinstance(row, dict) for row in rows)
    assert any("fashion_resnet" in row.values() or "onnxruntime" in row.values() for row in rows)


def test_no_color_is_heeded_on_a_terminal(run: Run) -> None:
    program = "from genq_export.core.terminal import PlainConsole; PlainConsole().print('x', style='red bold')"
    shown = run(program=("-c", program), FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="")
    plain = run(program=("-c", program), FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
    assert "31m" in shown.stdout and "31m" not in plain.stdout


@pytest.mark.parametrize("said", ["biuld", "verfy-file"])
def test_a_command_that_is_not_there_gets_the_nearest_one(run: Run, said: str) -> None:
    done = run(said, "x")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Did you mean" in done.stderr
