"""What the command line says when the input is bad: lines that name what was wrong and the remedy."""

import os
from typing import Any

from genq_export.config.build import BuildConfig
from genq_export.config.settings import settings_of
from genq_export.core.errors import MissingError, UserError
from genq_export.core.extras import missing_module
from genq_export.core.terminal import one_line


def lines(error: Exception) -> list[str]:
    """One line for each thing a user can mend; none for a fault of ours."""
    return [one_line(part) for part in _parts(error)]


def _parts(error: Exception) -> list[str]:
    if isinstance(error, MissingError):
        return error.problems
    if isinstance(error, UserError):
        return [str(error)]
    missing = missing_module(error)
    if missing is not None:
        return [missing]
    if isinstance(error, OSError) and error.errno is not None:
        return [f"the system refuses: {os.strerror(error.errno)}" + (f" ({error.filename})" if error.filename else "")]
    if isinstance(error, MemoryError):
        return ["out of memory: end other programs, or give fewer --images"]
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return [_unknown_option(error)]
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # typer's usage errors have no public class
        return [error.format_message()]
    return []


def _unknown_option(error: Any) -> str:
    """Name the option that was meant, or the setting of that name."""
    command = error.ctx.command_path if error.ctx else "genq-export"
    said = f"{command} has no option {error.option_name}"
    wanted = error.option_name.lstrip("-").replace("-", "_")
    takes_settings = error.ctx and any("--set" in parameter.opts for parameter in error.ctx.command.params)
    setting = next((setting for setting in settings_of(BuildConfig) if setting.path[-1] == wanted), None)
    if setting is not None and takes_settings:
        return f"{said} (did you mean --set {setting.name}=VALUE?)"
    if error.possibilities:
        return f"{said} (did you mean {error.possibilities[0]}?)"
    return f"{said}: {command} --help lists them"
