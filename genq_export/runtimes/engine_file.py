"""An engine on disk, and whether it may be run here: does it belong to the model, is it whole, was it built for this.

An engine holds machine code for named GPUs and one version of TensorRT. `engine.json` says which, so that a wrong one
is refused with the reason before a runtime sees it.
"""

import json
from pathlib import Path
from typing import Any

from genq_export.core.errors import UserError, reason_of
from genq_export.core.workspace import sha256

ENGINE_FILE, FACTS_FILE = "model.engine", "engine.json"
_NEWEST_MAJOR = {10: 11}  # that runs engines of a major version, where it is not the same
_BUILT_BY = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def read_engine_facts(folder: Path) -> dict[str, Any]:
    """`engine.json` of a build folder, whose engine is whole and was built from the folder's ONNX file.

    Raises UserError with the reason where it is not so.
    """
    engine, description = folder / ENGINE_FILE, folder / FACTS_FILE
    again = f"run `genq-export export {folder}`"
    if not engine.is_file():
        raise UserError(f"{folder} has no {ENGINE_FILE}: {again} where TensorRT or TensorRT-RTX is installed")
    try:
        facts = json.loads(description.read_text())
        expected, source = facts["engine_sha256"], facts["onnx_sha256"]
        missing = {"builder", "version", "compute_capabilities", "batches"} - facts.keys()
        if missing:
            raise KeyError(*missing)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{description} does not describe an engine ({reason_of(error)}): {again}") from None
    if sha256(engine) != expected:
        raise UserError(f"{engine} is corrupt: it is not the file that {FACTS_FILE} describes; {again}")
    model = folder / "model.onnx"
    if not model.is_file() or sha256(model) != source:
        raise UserError(f"{engine} was not built from {model}: {again}")
    return dict(facts)


def versions_that_run(builder: str, version: str, version_compatible: bool) -> dict[str, str]:
    """The oldest and the newest version of a package that run an engine: `{"oldest": "10.3.0", "newest": "11.*"}`.

    The one that built it alone; with version compatibility all later ones of its major version, and those of TensorRT
    11 an engine of TensorRT 10 (TensorRT 11.4.1, Support Matrix, Engine Portability). TensorRT-RTX has no such engines.
    """
    if not version_compatible or builder != "tensorrt":
        return {"oldest": version, "newest": version}
    return {"oldest": version, "newest": f"{_NEWEST_MAJOR.get(_numbers(version)[0], _numbers(version)[0])}.*"}


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _runs(facts: dict[str, Any], version: str) -> bool:
    """Does this version run an engine that another one built?"""
    if not facts.get("version_compatible"):
        return False
    built, here = _numbers(facts["version"]), _numbers(version)
    return built <= here and here[0] <= _NEWEST_MAJOR.get(built[0], built[0])


def check_fits(facts: dict[str, Any], module_name: str, version: str, capability: str) -> None:
    """Raise UserError where an engine was built by another package or version, or for other GPUs.

    module_name: `tensorrt` or `tensorrt_rtx`; capability: of the GPU at hand, as `SM86`.
    """
    built_by, here = (_BUILT_BY.get(name, name) for name in (facts["builder"], module_name))
    origin = f"the engine was built by {built_by} {facts['version']}"
    if facts["builder"] != module_name:
        raise UserError(f"{origin}, and {here} {version} is installed here")
    if facts["version"] != version and not _runs(facts, version):
        remedy = ", or with export.version_compatible=true" if module_name == "tensorrt" else ""
        raise UserError(f"{origin}, this machine has {version}: build it again{remedy}")
    built_for = list(facts["compute_capabilities"])
    newer = facts.get("hardware_compatible") and module_name == "tensorrt" and int(capability[2:]) >= 80
    if capability not in built_for and not newer:
        raise UserError(f"the engine was built for {', '.join(built_for)}, and this GPU is {capability}: build it here")
