"""The tests on every Python that is supported, each in an environment of its own: `nox`, or `nox -s core-3.12`.

pipx run nox            # or: uvx nox
nox -s floors ceilings  # the oldest and the newest packages that pyproject.toml allows; needs uv

TORCH_INDEX names the index that torch comes from, where it is not to be PyTorch's own for the CPU.
"""

import os

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
TORCH = ("torch==2.13.0", "torchvision==0.28.0")
OLDEST_TORCH = ("torch==2.12.1", "torchvision==0.27.1")
NEWEST_TORCH = ("torch<2.15", "torchvision<0.30")
CPU = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
nox.options.sessions = ["lint", "core", "tests"]
nox.options.error_on_missing_interpreters = False


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """What stands in front of every commit."""
    _install(session)
    session.run("ruff", "check", ".")
    session.run("lint-imports", "--no-logo", "--no-cache")
    session.run("mypy")


@nox.session(python=PYTHONS)
def core(session: nox.Session) -> None:
    """The core installs and runs without torch."""
    session.install(".")
    session.run("genq-export", "doctor")
    session.run("python", "-c", "from genq_export import load; import runtime_tests.qdq_file.run, export.audit.file")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The quick suite."""
    _install(session)
    session.run("pytest", *session.posargs)


@nox.session(python="3.11", venv_backend="uv")
def floors(session: nox.Session) -> None:
    """The oldest releases that the ranges allow."""
    _ranges(session, "lowest-direct", OLDEST_TORCH)


@nox.session(python="3.11", venv_backend="uv")
def ceilings(session: nox.Session) -> None:
    """The newest releases of everything."""
    _ranges(session, "highest", NEWEST_TORCH)


def _ranges(session: nox.Session, resolution: str, torch: tuple[str, ...]) -> None:
    """The core by itself, then what touches other packages most, and a build."""
    session.install("--resolution", resolution, ".[images]")
    session.install("pytest>=9", "hypothesis>=6.150")
    session.run("genq-export", "doctor")
    session.run("pytest", "tests/core/test_extras.py", "tests/cli/test_verify_file.py")
    session.install(*torch, "--index-url", CPU)
    session.install("--resolution", resolution, ".[all]")
    session.install("jsonschema>=4.23")
    session.run("uv", "pip", "list", external=True)
    session.run(
        "pytest",
        "tests/core",
        "tests/config",
        "tests/cli",
        "tests/export/check/test_write.py",
        "tests/network/test_onnx_graph.py",
    )
    quick = ("--bits", "8", "--preset", "quick", "--images", "64", "--generator", "leaves")
    session.run("genq-export", "build", "fashion_resnet", *quick, "-o", os.path.join(session.create_tmp(), "build"))


def _install(session: nox.Session) -> None:
    session.install(*TORCH, "--index-url", CPU)
    session.install("--editable", ".[dev]")
