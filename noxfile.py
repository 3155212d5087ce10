"""The tests on every Python that is supported, each in an environment of its own: `nox`, or `nox -s core-3.12`.

pipx run nox            # or: uvx nox
"""

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
CPU = "https://download.pytorch.org/whl/cpu"
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


def _install(session: nox.Session) -> None:
    session.install("torch==2.13.0", "torchvision==0.28.0", "--index-url", CPU)
    session.install("--editable", ".[dev]")
