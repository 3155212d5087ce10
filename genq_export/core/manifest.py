"""`manifest.json`: what each stage of a build was made from and left, as data that is checked when it is read."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.paths import RelativeName, inside, reading

MANIFEST_VERSION: Literal[1] = 1


class StageRecord(BaseModel):
    """One finished stage.

    fingerprint: identity of all that decides its result. outputs: sha256 by name relative to the build folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fingerprint: str
    seconds: float
    peak_memory_mib: float | None = None
    finished: str
    machine: str
    versions: dict[str, str]
    summary: dict[str, Any]
    outputs: dict[RelativeName, str]


class Manifest(BaseModel):
    """All finished stages by name, in the order in which they ran.

    config: sha256 of `config.yaml`; None in folders of earlier releases, which did not keep it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1] = MANIFEST_VERSION
    config: str | None = None
    stages: dict[str, StageRecord] = {}

    def with_stage(self, name: str, record: StageRecord) -> "Manifest":
        """A manifest in which the stage is recorded so; the others stay as they are."""
        return self.model_copy(update={"stages": {**self.stages, name: record}})


def read_manifest(path: Path) -> Manifest:
    """The manifest of a build folder, empty where there is none yet.

    Raises:
        UserError: for a file that is not a manifest, or one of another version.
    """
    with reading(path):
        if not inside(path.parent, path.name).is_file():
            return Manifest()
        text = path.read_bytes()
    try:
        content = json.loads(text)
        found = content["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is not a genq-export manifest; give another folder with -o") from None
    if found != MANIFEST_VERSION:
        raise UserError(
            f"{path} has version {found}, this genq-export writes version {MANIFEST_VERSION}:"
            " build into a new folder with -o, or use the genq-export that made it"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({damaged_field(error)}); give another folder with -o") from None
