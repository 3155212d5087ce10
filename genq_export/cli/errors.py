"""What the command line says when the input is bad: lines that name what was wrong and the remedy."""

import difflib
from typing import Any

from genq_export.config.build import BuildConfig
from genq_export.config.settings import settings_of
from genq_export.core.errors import UserError


def lines(error: Exception) -> list[str]:
    """One line for each thing a user can mend; none for a fault of ours."""
    if isinstance(error, UserError):
        return str(error).splitlines()
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return [_unknown_option(error)]
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # typer's usage errors have no public class
        return [" ".join(error.format_message().split())]
    return []


def _unknown_option(error: Any) -> str:
    """Name the option that was meant, or the setting of that name."""
    command = error.ctx.command_path if error.ctx else "genq-export"
    said = f"{command} has no option {error.option_name}"
    if error.possibilities:
        return f"{said} (did you mean {' or '.join(sorted(error.possibilities))}?)"
    wanted = error.option_name.lstrip("-").replace("-", "_")
    settings = {setting.path[-1]: setting.name for setting in settings_of(BuildConfig)}
    near = difflib.get_close_matches(wanted, settings, n=1, cutoff=0.8)
    takes_settings = error.ctx and any("--set" in parameter.opts for parameter in error.ctx.command.params)
    if near and takes_settings:
        return f"{said} (did you mean --set {settings[near[0]]}=VALUE?)"
    return f"{said}: {command} --help lists them"
