"""The parameters of the commands, made from the fields of the config models; those of a single run are written here.

A command says `@with_options("build")` and gets what was given of its options as one dictionary, by keyword.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer
from pydantic import BaseModel
from rich.markup import escape

from genq_export.config.base import types_in
from genq_export.config.build import BuildConfig
from genq_export.config.settings import Parameter, Setting, parameters, settings_of

Command = TypeVar("Command", bound=Callable[..., None])
Given = dict[str, Any]

# Commands whose settings come from a build folder where they are not given.
_ON_A_FOLDER = ("quantize", "verify")


def with_options(command: str, model: type[BaseModel] = BuildConfig) -> Callable[[Command], Command]:
    """Give a function the options that fields of `model` have for a command, in the place of its parameter `given`.

    What is called with are the options by keyword, those that were not given left out.
    """
    table = parameters(model, command)
    options = [_parameter(option, command) for option in table]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def call(**arguments: Any) -> None:
            values = {option.keyword: arguments.pop(option.keyword) for option in table}
            function(given={name: value for name, value in values.items() if value is not None}, **arguments)

        own = inspect.signature(function, eval_str=True).parameters
        place = list(own).index("given")
        fixed = [own[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in own if name != "given"]
        signature = inspect.Signature([*fixed[:place], *options, *fixed[place:]])
        call.__signature__ = signature  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def _parameter(parameter: Parameter, command: str) -> inspect.Parameter:
    """As typer reads a parameter: its type, and flags, help and completion; not given is None."""
    setting = parameter.settings[0]
    choices = setting.choices
    option = typer.Option(
        None,
        *_declarations(parameter),
        help=escape(_help(parameter, command)),
        metavar="|".join(choices) or ("<str>" if get_origin(_type(setting)) is list else None),
        autocompletion=_completion(setting) if setting.suggestions else None,
        show_default=False,
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    read_as = str if parameter.option.words else _type(setting)
    return inspect.Parameter(parameter.keyword, kind, default=option, annotation=read_as | None)


def _declarations(parameter: Parameter) -> tuple[str, ...]:
    if _type(parameter.settings[0]) is bool:
        return tuple(f"{flag}/--no-{flag.removeprefix('--')}" for flag in parameter.flags)
    return parameter.flags


def _type(setting: Setting) -> type:
    """What typer reads; text where the config model reads it itself (`20MB`, `3,224,224`)."""
    types = types_in(setting.field.annotation)
    if setting.separated:
        return str
    if any(get_origin(part) is tuple for part in types):
        return list[str]
    return next((plain for plain in (bool, int, float, Path) if plain in types), str)


def _help(parameter: Parameter, command: str) -> str:
    """The description with the bounds and the default that the field has."""
    setting = parameter.settings[0]
    default = _default(parameter, setting, command)
    facts = [
        setting.bounds,
        "repeatable" if get_origin(_type(setting)) is list else "",
        f"default: {default}" if default else "",
    ]
    told = "; ".join(fact for fact in facts if fact)
    text = parameter.help[:1].upper() + parameter.help[1:] + "."
    return f"{text} [{told}]" if told else text


def _default(parameter: Parameter, setting: Setting, command: str) -> str:
    if setting.field.is_required():
        return ""
    if command in _ON_A_FOLDER:
        return "as in the build folder"
    shorthand = next((option for option in setting.options if option.shorthand), None)
    if shorthand is not None and shorthand != parameter.option:
        return f"as --{shorthand.name}"
    return setting.default


def _completion(setting: Setting) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in setting.suggestions if choice.startswith(incomplete)]

    return complete


def _complete_setting(incomplete: str) -> list[str]:
    """Names of settings, and behind `=` the values of one that has a list of them."""
    name, separator, value = incomplete.partition("=")
    if not separator:
        return [f"{setting.name}=" for setting in settings_of(BuildConfig) if setting.name.startswith(incomplete)]
    choices = [choice for setting in settings_of(BuildConfig) if setting.name == name for choice in _values(setting)]
    return [f"{name}={choice}" for choice in choices if choice.startswith(value)]


def _values(setting: Setting) -> tuple[str, ...]:
    return ("true", "false") if setting.field.annotation is bool else setting.suggestions


_NAME = BuildConfig.model_fields["model"].annotation.model_fields["name"].description  # type: ignore[union-attr]

Model = Annotated[str | None, typer.Argument(help=f"{_NAME[:1].upper()}{_NAME[1:]}.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="A build folder.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Build folder. [default: build/NAME-wNaN-TARGET]")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with a whole config, as in a build folder.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other setting, such as calibrate.steps=10 (docs/configuration.md lists them). Repeatable.",
        metavar="SECTION.FIELD=VALUE",
        autocompletion=_complete_setting,
    ),
]
RunCode = Annotated[
    bool,
    typer.Option(
        "--run-code", help="Run the Python file that a config names as the network. Read it first: it can do anything."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and check what it needs; do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="One machine-readable line last on standard output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and results.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More lines.")]
