"""What must stand in no log and no message: tokens, passwords in addresses, and whose home folder it is."""

import os
import re
from pathlib import Path

_TOKENS = re.compile(r"\b(hf|ghp|gho|github_pat|sk|glpat)[_-][\w-]{6,}")
_IN_AN_ADDRESS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_NAMES = ("TOKEN", "SECRET", "PASSWORD", "API_KEY")  # of environment variables that hold some
_SHORTEST = 8  # letters of a value that is a secret, not a word such as `true`


def without_secrets(text: str) -> str:
    """Return text without tokens (by their form, and by the environment's variables), passwords, or the home folder."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and any(part in name.upper() for part in _NAMES):
            text = text.replace(value, f"({name})")
    text = _IN_AN_ADDRESS.sub("…", _TOKENS.sub(r"\1_…", text))
    home = str(Path("~").expanduser())
    return text.replace(home, "~") if len(home) > 1 else text
