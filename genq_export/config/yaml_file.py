"""Configs as YAML: read as data that may come from anyone, whole or not at all.

A written config ends with YAML's own mark for the end of a document, a line `...`. A file without it may have been cut
short, and what is missing would be taken for defaults, so it is refused; but for a file that version 1 wrote, which
had no mark: its last line is known.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from genq_export.core.errors import UserError

END = "..."
_LARGEST = 2**20  # bytes: a config has some thousand
_SECTIONS_OF_VERSION_1 = {"model", "calibrate", "quantize", "export", "verify"}
_LAST_LINE_OF_VERSION_1 = "    max_size_share: "


class _Loader(yaml.SafeLoader):
    """Plain values only: a date is text, a key stands once, and no part is repeated by reference."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (as in the class it is derived from)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few nested ones make gigabytes
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="a config takes no references (*)", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def value_of(text: str, source: str) -> Any:
    """What a YAML text says.

    Raises:
        UserError: one line with what is wrong and where.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise UserError(f"{source}: not YAML: {error.problem or error.context}{line}") from None
    except RecursionError:
        raise UserError(f"{source}: not YAML that a config holds: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise UserError(f"{source}: not YAML: {str(error).splitlines()[0]}") from None


def read_values(path: Path) -> dict[str, Any]:
    """The values of a config file.

    Raises:
        UserError: where it cannot be read, is no mapping, or may have been cut short.
    """
    source = f"cannot read config {path}"
    try:
        if path.exists() and not path.is_file():  # a pipe may never end, or never begin
            raise UserError(f"{source}: it is not a file")
        with open(path, "rb") as handle:
            content = handle.read(_LARGEST + 1)
        text = content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{source}: it is not text") from None
    except (OSError, ValueError) as error:  # ValueError: a path with NUL
        raise UserError(f"{source}: {error}") from None
    if len(content) > _LARGEST:
        raise UserError(f"{source}: it has more than {_LARGEST} bytes")
    values = value_of(text, source)
    if not isinstance(values, dict):
        raise UserError(f"config {path} is not a mapping of settings")
    if not _is_whole(text, values):
        raise UserError(
            f"config {path} may be cut short: it does not end with a line '{END}'; add it if nothing is missing"
        )
    return values


def _is_whole(text: str, values: dict[str, Any]) -> bool:
    if text.rstrip().endswith(f"\n{END}"):
        return True
    written = values.get("version") == 1 and text.endswith("\n") and values.keys() >= _SECTIONS_OF_VERSION_1
    return written and text.rstrip("\n").rpartition("\n")[2].startswith(_LAST_LINE_OF_VERSION_1)


def to_yaml(values: dict[str, Any]) -> str:
    """Values as a config file, with the mark at its end."""
    return str(yaml.safe_dump(values, sort_keys=False, explicit_end=True))
