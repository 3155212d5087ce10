"""The command line that makes a build again, for its report."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genq_export.config.build import BuildConfig
from genq_export.config.settings import Parameter, parameters


def command(config: BuildConfig) -> str:
    """`genq-export build …` with every option that differs from what the command does without it.

    Files and folders appear by their last name alone, but for a generator's: a report travels, and where they lay is
    nobody's business.
    """
    name, values = config.model.name, config.model_dump()
    title = config.model.title
    given = _given(config)
    parts = ["genq-export build", shlex.quote(title)]
    parts += [_option(option, given[option.keyword]) for option in _in_order(config) if option.keyword in given]
    told = type(config).for_model(name, **given)
    differences = _differences(values, told.model_dump())
    parts += [f"--set {shlex.quote(f'{field}={_text(value)}')}" for field, value in differences]
    return " ".join(parts)


def _given(config: BuildConfig) -> dict[str, Any]:
    """The options to tell, by keyword: shorthands where their fields agree, and what differs from the preset."""
    values = config.model_dump()
    usual = type(config).for_model(config.model.name, preset=config.preset).model_dump() | {"preset": "default"}
    given: dict[str, Any] = {}
    covered = set()
    for option in _in_order(config):
        found = [setting.read(values) for setting in option.settings]
        if found[0] in (None, ()) or any(one != found[0] for one in found):
            continue  # which no option says; `--set` does
        known = all(setting.path in covered for setting in option.settings)
        differs = any(setting.read(usual) != setting.read(values) for setting in option.settings)
        if not known and (differs or option.option.always_told):
            given[option.keyword] = found[0]
            covered |= {setting.path for setting in option.settings}
    return given


def _in_order(config: BuildConfig) -> list[Parameter]:
    """The options of `build`, shorthands first."""
    return sorted(parameters(type(config), "build"), key=lambda option: not option.option.shorthand)


def _option(option: Parameter, value: Any) -> str:
    if isinstance(value, bool):
        return option.flag if value else f"--no-{option.flag.removeprefix('--')}"
    if option.settings[0].separated:
        value = ",".join(map(_text, value))
    values = value if isinstance(value, tuple) else (value,)
    return " ".join(f"{option.flag} {shlex.quote(_text(one))}" for one in values)


def _differences(values: Mapping[str, Any], usual: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Fields whose value is another, `section.field` and the value."""
    for name, value in values.items():
        other = usual.get(name)
        if isinstance(value, dict) and isinstance(other, dict) and other:
            yield from _differences(value, other, f"{path}{name}.")
        elif value != other:
            yield f"{path}{name}", value


def _text(value: Any) -> str:
    """As the command line reads it."""
    if isinstance(value, Path):
        return value.name
    return value if isinstance(value, str) else json.dumps(value)
