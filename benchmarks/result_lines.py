"""Results of a benchmark as lines of a JSONL file: a second call measures only what is missing."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def read(path: Path, kind: Callable[..., Result]) -> list[Result]:
    """What the file holds, none where there is no file. kind: a dataclass."""
    return [kind(**json.loads(line)) for line in path.read_text().splitlines()] if path.is_file() else []


def kept(path: Path, results: Iterable[Any]) -> Iterator[Any]:
    """The results, dataclasses, each appended to the file before it is handed on."""
    for result in results:
        with open(path, "a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        yield result
