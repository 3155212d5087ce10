"""The command line as a process: full, closed and ASCII streams, Ctrl-C at any moment, what the system refuses."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from genq_export.cli.app import main

COMMAND = (sys.executable, "-m", "genq_export")


def _with_tree() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def _shell(line: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    script = f"genq() {{ '{sys.executable}' -m genq_export \"$@\"; }}; {line}"
    variables = _with_tree() | environment
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, cwd=cwd, env=variables, timeout=120
    )


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("genq models > /dev/full", 2, "error: cannot write to standard output: No space left on device\n"),
        ("genq --version > /dev/full", 2, "error: cannot write to standard output: No space left on device\n"),
        ("genq models >&-", 0, ""),
        ("genq nonsense 2>&-", 2, ""),
        ("genq --help > /dev/full", 2, "error: the system refuses: No space left on device\n"),
        ("set -o pipefail; genq --help | true", 141, ""),
        ("genq nonsense 2>/dev/full", 2, ""),
        ("genq models 2>&- <&- | cat", 0, ""),
        ("set -o pipefail; genq models | true", 141, ""),
    ],
)
def test_a_stream_that_does_not_take_what_is_said(line: str, code: int, words: str) -> None:
    done = _shell(line)
    assert (done.returncode, done.stderr) == (code, words)
    assert "error" not in done.stdout


def test_what_is_closed_is_not_written_to_when_a_file_gets_its_number(tmp_path: Path) -> None:
    done = _shell("genq audit x.onnx >&- 2>&-", tmp_path)
    assert done.returncode == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", ["models", "build fashion_resnet --dry-run", "audit 日本²\udcff.onnx"])
def test_a_terminal_that_knows_ascii_alone(tmp_path: Path, arguments: str) -> None:
    plain = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*COMMAND, *arguments.split()], capture_output=True, check=False, cwd=tmp_path, env=os.environ | plain
    )
    assert done.returncode in (0, 2) and b"Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()


_STOPPED_AT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests may ignore it
wanted = sys.argv.pop(1)
seen = []
def hook(event, arguments):
    if event == "import" and arguments[0] == wanted and not seen:
        seen.append(1)
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
from genq_export.cli.app import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "rich", "pydantic", "yaml", "genq_export.cli.program", "numpy", "torch"])
def test_ctrl_c_while_a_module_is_imported(tmp_path: Path, module: str) -> None:
    command = [sys.executable, "-c", _STOPPED_AT, module, "build", "fashion_resnet", "-q", "-o", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_with_tree(), timeout=120)
    assert (done.returncode, done.stderr) == (130, "stopped; the same command goes on from here\n")


_HANDLER = """
import signal, sys
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
sys.argv = sys.argv[2:]
import genq_export
found = signal.getsignal(signal.SIGINT)
print(found.name if isinstance(found, signal.Handlers) else found.__name__)
"""


@pytest.mark.parametrize(
    ("program", "before", "after"),
    [
        ("/bin/genq-export", "default_int_handler", "SIG_DFL"),
        ("-m", "default_int_handler", "SIG_DFL"),
        ("somebody.py", "default_int_handler", "default_int_handler"),
        ("/bin/genq-export", "SIG_IGN", "SIG_IGN"),
    ],
)
def test_ctrl_c_before_the_command_can_answer_ends_it_without_a_word(program: str, before: str, after: str) -> None:
    """And a program that only uses the library keeps its own way to stop."""
    command = [sys.executable, "-c", _HANDLER, before, program]
    done = subprocess.run(command, capture_output=True, text=True, env=_with_tree(), check=True)
    assert done.stdout.strip() == after


class _Stubborn:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("stoppable")
def test_ctrl_c_where_the_interpreter_swallows_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    program = typer.Typer()

    @program.command()
    def command() -> None:
        _Stubborn()

    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["genq-export"])
        main(program)
    assert "Traceback" not in capsys.readouterr().err


def _ends(error: BaseException) -> int | str | None:
    program = typer.Typer()

    @program.command()
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as stop, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["genq-export"])
        main(program)
    return stop.value.code


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "the system refuses: No space left on device"),
        (PermissionError(13, "Permission denied", "some/file"), "the system refuses: Permission denied (some/file)"),
        (OSError(36, "x", "a\x1b[2Jb"), r"the system refuses: File name too long (a\x1b[2Jb)"),
        (MemoryError(), "out of memory: end other programs, or give fewer --images"),
    ],
)
def test_what_the_system_refuses_anywhere_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, words: str
) -> None:
    assert _ends(error) == 2
    assert capsys.readouterr().err == f"error: {words}\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        _ends(ZeroDivisionError())


@pytest.fixture
def stoppable() -> Iterator[None]:
    """What runs the tests may ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("stoppable")
def test_ctrl_c_that_a_library_turns_into_another_error_is_still_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    program = typer.Typer()

    @program.command()
    def command() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(SystemExit) as stop, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["genq-export"])
        main(program)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
