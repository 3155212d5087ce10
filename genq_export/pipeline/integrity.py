"""Is a build folder still what its stages left? Only of such a folder is anything reported.

The manifest is what all is held against: somebody who rewrites it, too, is not found out here.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from genq_export.core.errors import UserError
from genq_export.core.manifest import Manifest
from genq_export.core.paths import reading
from genq_export.core.workspace import CONFIG_FILE, Workspace, sha256
from runtime_tests.verify.results import Verification
from runtime_tests.verify.verify_file import VERIFY_FILE, read_verification

_REPORT = "report"  # its own files are made anew where they changed
_SHOWN = 2


def changes(workspace: Workspace, with_report: bool = False) -> list[str]:
    """What is no longer as a stage left it, or was measured of other files; a phrase each, with what mends it.

    Args:
        workspace: The build folder.
        with_report: The report's own files count, too: they are read and not made anew.

    Raises:
        UserError: The manifest or `verify.json` cannot be read.
    """
    manifest = workspace.read_manifest()
    again = f"genq-export build --config {workspace.path(CONFIG_FILE)} -o {workspace.folder}"
    found = [
        f"{name} is not the file that '{stage}' left: run `{again}`"
        for stage, name in _harmed(workspace, manifest, with_report)
        if name != VERIFY_FILE
    ]
    if not workspace.holds_its_config():
        found.insert(0, f"{CONFIG_FILE} is not the one that was built from: `{again}` builds from it as it is now")
    if found:
        return found
    return [f"{reason}: run `genq-export verify {workspace.folder}`" for reason in _measured_otherwise(workspace)]


def one_line(workspace: Workspace, found: list[str]) -> str:
    """The first changes in one line, and how many more there are."""
    more = f" (and {len(found) - 1} more changes)" if len(found) > 1 else ""
    return f"{workspace.folder} has changed since it was built, nothing is reported of it: {found[0]}{more}"


def _harmed(workspace: Workspace, manifest: Manifest, with_report: bool) -> Iterator[tuple[str, str]]:
    """(stage, file) of files that are gone or others, in the order of the stages."""
    for stage, record in manifest.stages.items():
        if stage == _REPORT and not with_report:
            continue
        for name, digest in record.outputs.items():
            if not _left_behind(workspace, name) and not workspace.is_unharmed(name, digest):
                yield stage, name


def _left_behind(workspace: Workspace, name: str) -> bool:
    """Is this of the calibration set, in a folder that travels without the set as a whole?"""
    home = PurePosixPath(name).parts[0]
    return home != name and not workspace.path(home).is_dir()


def _measured_otherwise(workspace: Workspace) -> Iterator[str]:
    """Why `verify.json` says nothing of the files that are here."""
    recorded = workspace.read_manifest().stages.get("verify")
    if recorded is None and not workspace.path(VERIFY_FILE).is_file():
        return  # it has not run yet, and the report says so
    digest = recorded.outputs.get(VERIFY_FILE) if recorded is not None else None
    if digest is None or not workspace.is_unharmed(VERIFY_FILE, digest):
        yield f"{VERIFY_FILE} is not the file that 'verify' left"
        return
    for run in read_verification(workspace).runs[-1:]:
        yield from _of_other_files(workspace, run)


def _of_other_files(workspace: Workspace, run: Verification) -> Iterator[str]:
    for name, digest in run.artefacts.items():
        try:
            path = workspace.path(name)
            with reading(path):
                same = path.is_file() and sha256(path) == digest
        except UserError:  # a name that is none
            same = False
        if not same:
            yield f"{VERIFY_FILE} was measured of another {name}"
