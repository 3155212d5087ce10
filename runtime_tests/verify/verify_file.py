"""`verify.json` of a build folder: read, and with a new run put in its place among the earlier ones."""

from pydantic import ValidationError

from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from runtime_tests.verify.results import Verification, VerifyFile

VERIFY_FILE = "verify.json"
ANSWERS_FILE = "answers.png"  # what the networks see in some images, where that can be drawn


def read_verification(workspace: Workspace) -> VerifyFile:
    """What was measured of a build, oldest run first.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    path = workspace.path(VERIFY_FILE)
    try:
        return VerifyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{workspace.folder} has no {VERIFY_FILE}: run `genq-export verify` first") from None
    except ValidationError as error:
        where = damaged_field(error)
        raise UserError(f"{path} is damaged or of another version ({where}): verify again") from None


def keep_run(workspace: Workspace, run: Verification) -> bool:
    """Write a run into `verify.json`.

    Runs of other machines or on other images stay beside it. This machine's earlier run on the same images is replaced,
    and so is everything measured on files that have changed since, and a file that cannot be read.

    Returns:
        Whether the run stands beside all that were there.
    """
    earlier = _earlier(workspace)
    kept = tuple(item for item in earlier.runs if _same_files(item, run) and not _same_place(item, run))
    devices = tuple(item for item in earlier.devices if item.model == run.artefacts.get("model.onnx"))
    workspace.write_json(VERIFY_FILE, VerifyFile(runs=(*kept, run), devices=devices).model_dump(mode="json"))
    return bool(earlier.runs) and kept == earlier.runs


def _earlier(workspace: Workspace) -> VerifyFile:
    """What was measured before."""
    if not workspace.path(VERIFY_FILE).is_file():
        return VerifyFile()
    try:
        return read_verification(workspace)
    except UserError:
        return VerifyFile()  # damaged or of another version: measured again now


def _same_files(first: Verification, second: Verification) -> bool:
    """Of the same files? Earlier releases listed fewer of them."""
    common = first.artefacts.keys() & second.artefacts.keys()
    return bool(common) and all(first.artefacts[name] == second.artefacts[name] for name in common)


def _same_place(first: Verification, second: Verification) -> bool:
    """The same machine and the same images? Names alone do not tell: virtual machines share them."""
    places = [
        (run.machine.name, run.machine.cpu, run.machine.cores, run.machine.gpu, run.evaluation and run.evaluation.name)
        for run in (first, second)
    ]
    return places[0] == places[1]
