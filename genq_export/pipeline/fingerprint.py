"""Identities: of the code that decides a stage's result, and of the stage as a whole.

The code of a stage is the import closure of the modules that it names: every module of this project that they import,
at the top or inside a function, and the templates beside them. Comments, docstrings and blank lines do not count, and
neither does the registry of parts: what a config chooses from it the stage names itself.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace, fingerprint
from genq_export.stage import Stage

SOURCES = Path(__file__).resolve().parents[2]
PACKAGES = ("genq_export", "calibrate", "export", "runtime_tests")
_REGISTRY = "genq_export.config.registry"
_TEMPLATES = "templates"


def stage_fingerprint(stage: Stage, workspace: Workspace, config: BuildConfig) -> str:
    """Identity of what a stage would be made from.

    Raises:
        UserError: where something that it reads is missing.
    """
    before = None if stage.previous is None else workspace.output_hashes(stage.previous)
    code = code_identity(closure(stage.parts(config)))
    return fingerprint(stage.name, code, stage.settings(config), stage.inputs(config, workspace), before)


def closure(modules: Iterable[str], root: Path = SOURCES) -> tuple[str, ...]:
    """Names of these modules and of all of this project that they import, directly or not; sorted.

    Args:
        modules: dotted names.
        root: folder of the packages.
    """
    waiting, found = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found or name == _REGISTRY or _file(name, root) is None:
            continue
        found.add(name)
        waiting += imported(name, root)
    return tuple(sorted(found))


@cache
def imported(module: str, root: Path = SOURCES) -> tuple[str, ...]:
    """Names that may be modules of this project which a module imports, and the packages that it lies in."""
    path = _file(module, root)
    assert path is not None, f"{module} is not a module of this project"
    parents = [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]
    return (*parents, *_imports(ast.parse(path.read_bytes())))


def code_identity(modules: Iterable[str], root: Path = SOURCES) -> str:
    """Hex digest over what these modules do, and over the templates that lie beside them."""
    digest = hashlib.sha256()
    for module in modules:
        path = _file(module, root)
        assert path is not None, f"{module} is not a module of this project"
        digest.update(f"{module}\0{bare_code(path.read_text())}\0".encode())
        for template in sorted((path.parent / _TEMPLATES).glob("*")):
            digest.update(f"{template.name}\0".encode() + template.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def bare_code(source: str) -> str:
    """Python source without comments, docstrings, blank lines and spaces at the ends of lines."""
    lines = source.splitlines()
    for row, column in _comments(source):
        lines[row] = lines[row][:column]
    for first, last in _docstrings(ast.parse(source)):
        lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _file(module: str, root: Path) -> Path | None:
    """The file of a module of this project; None for anything else."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    place = root.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Every name that an import statement may load as a module; what only type checkers read is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (part.name for part in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{part.name}" for part in node.names)
        else:
            yield from _imports(node)


def _comments(source: str) -> Iterator[tuple[int, int]]:
    """Row and column, from 0, of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0] - 1, token.start[1]


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First row, and the one behind the last, of every docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            statement = node.body[0]
            assert statement.end_lineno is not None
            if isinstance(node, ast.Module) or statement.lineno > node.lineno:
                yield statement.lineno - 1, statement.end_lineno
