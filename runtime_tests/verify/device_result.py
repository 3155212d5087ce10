"""What the check of a build found on another device: the JSON of the programs in `check/`, taken into the build.

A result is its maker's word. It is taken only where it is of this build's file and golden data, and agrees with itself.
"""

import os
import time
from pathlib import Path

from pydantic import ValidationError

from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.paths import reading
from genq_export.core.workspace import Workspace, sha256
from runtime_tests.verify.results import DeviceResult, VerifyFile
from runtime_tests.verify.verify_file import VERIFY_FILE, read_verification

_MOST_BYTES = 65_536
_MODEL, _DATA = "model.onnx", "check/golden.bin"


def take_result(workspace: Workspace, path: Path) -> DeviceResult:
    """Put a result beside what was measured of the build, in place of an earlier one of the same device and runtime.

    Args:
        workspace: the build, locked by the caller.
        path: JSON of `check.py`, `check.mjs` or `index.html`.

    Raises:
        UserError: where it is no result, or one of another file or build.
    """
    return keep_result(workspace, _read(path), str(path))


def keep_result(workspace: Workspace, found: DeviceResult, source: str) -> DeviceResult:
    """Put what was found beside what was measured, with the day.

    Args:
        workspace: the build, locked by the caller.
        found: of a device.
        source: where it is from, for people.

    Raises:
        UserError: where it is of another file or build.
    """
    result = found.model_copy(update={"received": time.strftime("%Y-%m-%d", time.gmtime())})
    for name, digest in ((_MODEL, result.model), (_DATA, result.golden)):
        place = workspace.path(name)
        with reading(place):
            if not place.is_file():
                raise UserError(f"{workspace.folder} has no {name}: export it again, and check that on the device")
            if sha256(place) != digest:
                raise UserError(
                    f"{source} is of another {name} than this build's: copy model.onnx and check/ of {workspace.folder}"
                    " to the device and run the check there again"
                )
    measured = read_verification(workspace)
    others = tuple(item for item in measured.devices if (item.device, item.runtime) != (result.device, result.runtime))
    kept = VerifyFile(runs=measured.runs, devices=(*others, result))
    workspace.write_json(VERIFY_FILE, kept.model_dump(mode="json"))
    return result


def _read(path: Path) -> DeviceResult:
    with reading(path):
        if not path.is_file():
            raise UserError(f"result file {path} does not exist")
        if os.stat(path).st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than any result of a check (64 kB)")
        content = path.read_bytes()
    program = "check.py, check.mjs or index.html"
    try:
        result = DeviceResult.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path} is no result of {program} ({damaged_field(error)}): run the check again") from None
    if not _agrees_with_itself(result):
        raise UserError(f"{path} is no result of {program} (its verdict is not that of its figures): check again")
    return result


def _agrees_with_itself(result: DeviceResult) -> bool:
    counts = result.quantizers_unlike <= result.quantizers and result.same_answers <= result.images
    return counts and (result.verdict == "same codes") == (result.quantizers_unlike == 0)
