"""What decides the network of a Python file, found without running it.

That is the file, its neighbours that it imports, and the files whose names stand in them.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from genq_export.core.errors import UserError
from genq_export.data.digests import file_digest


def code_digest(file: Path) -> str:
    """Digest of the contents of a Python file and of all that it is seen to use.

    A file that is read under a name which the code puts together is not seen.

    Raises:
        UserError: where one of them cannot be read.
    """
    digest = hashlib.sha256()
    for path in (*source_files(file), *_named_files(file)):
        digest.update(path.name.encode() + file_digest(path).encode())
    return digest.hexdigest()[:16]


def source_files(file: Path) -> list[Path]:
    """The file and the modules beside it that it imports, also through others."""
    found, waiting = list[Path](), [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.append(path)
            waiting += _neighbours(path, file.parent)
    return [file, *sorted(set(found) - {file})]


def _neighbours(path: Path, folder: Path) -> Iterator[Path]:
    for node in ast.walk(_parsed(path)):
        names = [part.name for part in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{part.name}" for part in node.names)]
        for name in names:
            place = folder.joinpath(*name.split("."))
            yield from (one for one in (place.with_suffix(".py"), place / "__init__.py") if name and one.is_file())


def _named_files(file: Path) -> list[Path]:
    """Files that exist under a text in the code: weights, lists of names."""
    texts = {
        node.value
        for path in source_files(file)
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 1000
    }
    places = {folder / text for text in texts if text.isprintable() for folder in (Path(), file.parent)}
    return sorted(place for place in places if place.is_file())


def _parsed(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (SyntaxError, ValueError):  # said when it is run
        return ast.Module([], [])
