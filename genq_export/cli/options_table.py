"""The tables in docs/configuration.md; `python -m genq_export.cli.options_table docs/configuration.md` writes them."""

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel

from genq_export.config.base import types_in
from genq_export.config.build import BuildConfig
from genq_export.config.settings import Setting, parameters, settings_of

_MADE = re.compile(r"(<!-- made from the config models -->\n).*(<!-- to here -->\n)", re.S)
_COMMANDS = ("build", "calibrate", "quantize", "verify", "audit")
_KINDS = {bool: "true, false", int: "whole number", float: "number", Path: "path", str: "text"}


def with_tables(page: str, model: type[BaseModel] = BuildConfig) -> str:
    """The page with the settings as the models have them now."""
    return _MADE.sub(lambda found: f"{found[1]}{_tables(model)}{found[2]}", page)


def _tables(model: type[BaseModel]) -> str:
    """One table a section."""
    parts = []
    for section, settings in groupby(settings_of(model), key=lambda setting: setting.path[:-1]):
        title = f"`{'.'.join(section)}`" if section else "The build"
        parts.append("\n".join([f"\n### {title}\n", *_rows(model, list(settings)), ""]))
    return "".join(parts) + "\n"


def _rows(model: type[BaseModel], settings: list[Setting]) -> Iterator[str]:
    yield "| setting | option | takes | default | |"
    yield "|---|---|---|---|---|"
    for setting in settings:
        default = f"`{setting.default}`" if setting.default else ""
        cells = (f"`{setting.name}`", _options(model, setting), _takes(setting), default, setting.field.description)
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _options(model: type[BaseModel], setting: Setting) -> str:
    """Flags, with the commands where `build` is not among them."""
    flags: dict[str, list[str]] = {}
    for command in _COMMANDS:
        for option in parameters(model, command):
            if setting in option.settings:
                flags.setdefault(option.flag, []).append(command)
    return ", ".join(
        f"`{flag}`" if "build" in commands else f"`{flag}` ({', '.join(commands)})" for flag, commands in flags.items()
    )


def _takes(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    types = types_in(setting.field.annotation)
    kind = next((words for plain, words in _KINDS.items() if plain in types), "")
    words = [f"`{word}`" for option in setting.options for word in option.words]
    return ", ".join(part for part in (kind, setting.bounds, *words) if part)


if __name__ == "__main__":
    for place in map(Path, sys.argv[1:]):
        place.write_text(with_tables(place.read_text()))
