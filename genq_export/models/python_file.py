"""A function in a Python file of the user's that makes the network: `mynet.py:make`. The file is run, as its user asks.

Nothing is ever found by itself: the file runs where its name stands on the command line, or in a config that a Python
program builds. A config file or a build folder that names one needs the user's word (`--run-code`); `verify` and `load`
work from what is stored.
"""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError, problems_of, reason_of
from genq_export.models.door import ANY_GENERATOR, Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.own_module import described_module
from genq_export.models.python_identity import code_digest, source_files

if TYPE_CHECKING:
    from torch import nn

_FORM = re.compile(r"(?P<file>.+\.py)(:(?P<function>\w*))?")
_EXPECTED = "give FILE.py:FUNCTION, a function without arguments that returns a torch.nn.Module"


class PythonFileDoor(Door):
    """What a function of a file returns: a `torch.nn.Module`."""

    runs_code = True

    def matches(self, config: ModelConfig) -> bool:
        """By the suffix of the file."""
        return _FORM.fullmatch(config.name) is not None

    def identity(self, config: ModelConfig) -> str:
        """The file, what it imports from its folder, and the files that they name."""
        file, function = _parts(config)
        return f"{file.name}:{function} {code_digest(file)}"

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Run the file and call the function; its module is described by what the user says of it."""
        file, function = _parts(config)
        _check(file, function)
        return described_module(config, f"{file.name}:{function}", _made(file.resolve(), function, code_digest(file)))

    def architecture_problems(self, config: ModelConfig) -> list[str]:
        """A file that is not there, or a name that is missing; the rest is seen when it runs."""
        return problems_of(_check, *_parts(config))

    def offers(self, search: str) -> list[Offer]:
        """The form of its names."""
        return [] if search else [Offer("FILE.py:FUNCTION", "the function's, or --weights FILE", ANY_GENERATOR)]

    def findings(self) -> list[Finding]:
        """Python is here; what the user's file imports is not known before it runs."""
        return [Finding("networks FILE.py:FUNCTION", "works", "the file is run; out of a config with --run-code alone")]


PYTHON_FILE = PythonFileDoor()


def _parts(config: ModelConfig) -> tuple[Path, str]:
    form = _FORM.fullmatch(config.name)
    assert form is not None
    return Path(form["file"]), form["function"] or ""


def _check(file: Path, function: str) -> None:
    if not file.is_file():
        raise UserError(f"Python file {file} does not exist: {_EXPECTED}")
    if not function:
        raise UserError(f"{file}: which function makes the network? {_EXPECTED}")


@lru_cache(maxsize=1)
def _made(file: Path, function: str, digest: str) -> "nn.Module":
    """The module; made once for a file that stays as it is.

    Raises:
        UserError: where there is none, with the line of the file.
    """
    from torch import nn

    _forget(source_files(file))
    with _importing_from(file.parent):
        found = getattr(_run(file), function, None)
        if found is None:
            raise UserError(f"{file.name} has no function '{function}': {_EXPECTED}")
        module = found if isinstance(found, nn.Module) else _called(found, file, function)
    if not isinstance(module, nn.Module):
        kind = type(module).__name__
        raise UserError(f"{file.name}:{function} returned {kind} and no torch.nn.Module: {_EXPECTED}")
    return module


def _run(file: Path) -> ModuleType:
    """The module of a file, which it runs."""
    name = f"genq_export_user_{file.stem}"
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # where classes of the file look for themselves
    with _told(file):
        exec(compile(file.read_bytes(), file, "exec"), module.__dict__)  # the user asks for this
    return module


def _forget(files: Sequence[Path]) -> None:
    """Have neighbours of a file imported anew: they may have changed since."""
    known = {path.resolve() for path in files}
    for name, module in [*sys.modules.items()]:
        place = getattr(module, "__file__", None)
        if isinstance(place, str) and Path(place).resolve() in known:
            del sys.modules[name]


def _called(function: Callable[..., Any], file: Path, name: str) -> object:
    if not callable(function):
        raise UserError(f"'{name}' of {file.name} is {type(function).__name__} and no function: {_EXPECTED}")
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise UserError(f"{file.name}:{name} needs arguments ({', '.join(needed)}): {_EXPECTED}")
    with _told(file):
        return function()


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours, behind everything that is installed."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Name the line of the user's file where it raised."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
        line = error.lineno if isinstance(error, SyntaxError) and not lines else (lines or [None])[-1]
        where = file.name if line is None else f"{file.name}, line {line}"
        raise UserError(f"{where}: {type(error).__name__}: {reason_of(error)}") from error
