"""Every field of every file of a build folder, changed once: what the commands that read it make of the change.

The files are made from the typed models themselves, so a new field joins by itself. `python -m
tests.robustness.tamper_table` prints how many changes of which kind are refused, noticed, or decide nothing.
"""

import json
import tempfile
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from calibrate.summary import CalibrateSummary
from export.summary import ExportSummary
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.manifest import StageRecord
from genq_export.core.workspace import StageResult, Workspace, sha256
from genq_export.data.calibration_set import Row as SetRow
from genq_export.data.calibration_set import read_rows, write_rows
from genq_export.pipeline.build import read_config
from genq_export.pipeline.integrity import changes
from genq_export.pipeline.stages import STAGES, find_stage
from genq_export.quantization.summary import QuantizeSummary
from genq_export.runtimes.engine_file import read_engine_facts
from runtime_tests.report.model import Report, read_report
from runtime_tests.report.stage_summaries import read_summaries
from runtime_tests.verify.results import VerifyFile
from runtime_tests.verify.verify_file import read_verification

Place = tuple[str | int, ...]


class Outcome(StrEnum):
    """What becomes of a change."""

    REFUSED = "refused"  # one line: the file is damaged
    NOTICED = "noticed"  # the stage no longer counts as done: it is made again, or said
    SHOWN = "only shown"  # decides nothing


class Change(StrEnum):
    """How a field is changed."""

    KIND = "another kind"
    VALUE = "another value"
    GONE = "left out"


@dataclass(frozen=True)
class Tampering:
    """One change and what became of it. field: `runs.*.machine.name`, the numbers of lists left out.

    reported: does `report` take the folder for what it was?
    """

    file: str
    field: str
    change: Change
    outcome: Outcome
    reported: bool


# By field of a stage's record in the manifest; one that is missing here fails the test, so that somebody says.
RECORD_FIELDS: dict[str, Outcome] = {
    "fingerprint": Outcome.NOTICED,
    "outputs": Outcome.NOTICED,
    "seconds": Outcome.SHOWN,
    "peak_memory_mib": Outcome.SHOWN,
    "finished": Outcome.SHOWN,
    "machine": Outcome.SHOWN,
    "versions": Outcome.SHOWN,
    "summary": Outcome.SHOWN,
}
SUMMARIES: dict[str, type[BaseModel] | None] = {
    "calibrate": CalibrateSummary,
    "quantize": QuantizeSummary,
    "export": ExportSummary,
    "verify": None,
    "report": None,
}
OUTPUTS = {
    "calibrate": ["calibration/metadata.jsonl"],
    "quantize": ["reference.json"],
    "export": ["model.onnx", "model.engine", "engine.json", "model.json"],
    "verify": ["verify.json"],
    "report": ["report.json"],
}
_CHANGED = {"tampered": {"with": [1]}}


def make_folder(folder: Path) -> Workspace:
    """A build folder that holds one of everything, with a manifest that is right about it."""
    workspace = Workspace.open(folder)
    workspace.write_config(BuildConfig.for_model("fashion_resnet", preset="quick").to_yaml().encode())
    (folder / "calibration").mkdir()
    write_rows(folder / "calibration", [SetRow(**sample_fields(SetRow))])
    for name in ("model.onnx", "model.engine"):
        workspace.write_bytes(name, name.encode())
    for name in ("reference.json", "model.json"):
        workspace.write_json(name, {})
    workspace.write_json("engine.json", engine_facts(folder))
    workspace.write_json("verify.json", verified(folder))
    workspace.write_json("report.json", sample(Report).model_dump(mode="json"))
    for stage, model in SUMMARIES.items():
        summary = {"passed": True} if model is None else sample(model).model_dump(mode="json")
        workspace.record(stage, f"identity of {stage}", StageResult(OUTPUTS[stage], summary), 1.0)
    return workspace


def verified(folder: Path) -> dict[str, Any]:
    """A run of one runtime, `text`, whose agreement with float is known, as of every runtime that got through."""
    document: dict[str, Any] = sample(VerifyFile).model_dump(mode="json")
    for run in document["runs"]:
        run["task"] = "classification"  # one of those that there are
        run["agreement"] = {"text_vs_float": 0.5}
        run["artefacts"] = {name: sha256(folder / name) for name in ("model.onnx", "reference.json")}
    return document


def engine_facts(folder: Path) -> dict[str, Any]:
    """What `engine.json` says, with its present hashes."""
    return {
        "builder": "tensorrt",
        "version": "10.13.0",
        "compute_capabilities": ["SM86"],
        "gpu": "a GPU",
        "version_compatible": False,
        "hardware_compatible": False,
        "onnx_sha256": sha256(folder / "model.onnx"),
        "engine_sha256": sha256(folder / "model.engine"),
        "bytes": 12,
        "input": [3, 32, 32],
        "batches": {"min": 1, "opt": 8, "max": 32},
        "layers": [],
    }


def sample(kind: Any) -> Any:
    """A value of an annotated type, with something in every field."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return sample(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return sample(next(part for part in arguments if part is not type(None)))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_validate(
            {name: sample(field.annotation) for name, field in kind.model_fields.items()}, by_name=True, by_alias=False
        )
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**sample_fields(kind))
    if origin is not None and issubclass(origin, tuple | list):
        fixed = issubclass(origin, tuple) and Ellipsis not in arguments
        return tuple(sample(part) for part in (arguments if fixed else arguments[:1]))
    if origin is not None:
        return {sample(arguments[0]): sample(arguments[1])}
    return {str: "text", int: 3, float: 0.5, bool: True}.get(kind, "anything")


def sample_fields(kind: type) -> dict[str, Any]:
    """A value for every field of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: sample(hints[field.name]) for field in fields(kind)}


def places(value: Any, before: Place = ()) -> Iterator[Place]:
    """Every field of a document and the first of every list, from outside in."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*before, key)
        yield from places(part, (*before, key))


def changed(document: Any, place: Place, change: Change) -> Any | None:
    """A copy of a document in which one field is changed; None where it cannot be changed so."""
    copy = json.loads(json.dumps(document))
    home = copy
    for key in place[:-1]:
        home = home[key]
    value = home[place[-1]]
    if change is Change.GONE:
        del home[place[-1]]
    elif change is Change.KIND:
        home[place[-1]] = 7 if isinstance(value, dict) else _CHANGED
    elif isinstance(value, dict | list):
        return None
    else:
        home[place[-1]] = _another(value)
    return copy


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "another" if value is None else f"{value}x"


@dataclass(frozen=True)
class File:
    """How one file is read, written, and owned: by the stage whose freshness it decides, None for the manifest."""

    name: str
    stage: str | None
    read: Callable[[Workspace], object]


def _engine(workspace: Workspace) -> object:
    return read_engine_facts(workspace.folder)


FILES = (
    File("manifest.json", None, read_summaries),
    File("verify.json", "verify", read_verification),
    File("report.json", "report", lambda workspace: read_report(workspace.folder)),
    File("calibration/metadata.jsonl", "calibrate", lambda workspace: read_rows(workspace.path("calibration"))),
    File("engine.json", "export", _engine),
)


def _network(name: str) -> Callable[[Workspace], object]:
    def read(workspace: Workspace) -> object:
        from genq_export.network import files

        return getattr(files, name)(workspace.folder)

    return read


NETWORKS = (
    File("reference.json", "quantize", _network("load_reference")),
    File("model.json", "export", _network("load_integer_model")),
)


def tamper_networks(workspace: Workspace, every: int = 1) -> list[Tampering]:
    """Change every field, or every so many of them, of the structure of a real build's networks."""
    return [row for file in NETWORKS for row in list(_tamper(workspace, file, ("quantize", "export"), every))]


def tamper(workspace: Workspace) -> list[Tampering]:
    """Change every field of every file once in each way."""
    rows = [row for file in FILES for row in _tamper(workspace, file)]
    return [*rows, *_tamper_config(workspace)]


def _tamper(workspace: Workspace, file: File, stages: tuple[str, ...] = STAGES, every: int = 1) -> Iterator[Tampering]:
    path = workspace.path(file.name)
    before = path.read_bytes()
    document = json.loads(before)
    read_by_the_next = _read_by_the_next(workspace, stages)
    for place in list(places(document))[::every]:
        for change in Change:
            after = changed(document, place, change)
            if after is None:
                continue
            path.write_text(json.dumps(after) + "\n")
            outcome = _outcome(workspace, file, stages, read_by_the_next)
            yield Tampering(file.name, named(place), change, outcome, is_reported(workspace))
    path.write_bytes(before)


def _outcome(workspace: Workspace, file: File, stages: tuple[str, ...], read_by_the_next: object) -> Outcome:
    """What the command that reads the file says, and then what a build says."""
    try:
        file.read(Workspace.existing(workspace.folder))
        done = all(workspace.is_fresh(stage, f"identity of {stage}") for stage in stages)
        same = done and _read_by_the_next(workspace, stages) == read_by_the_next
    except UserError:
        return Outcome.REFUSED
    return Outcome.SHOWN if same else Outcome.NOTICED


def is_reported(workspace: Workspace) -> bool:
    """Would `genq-export report` make a report of the folder?"""
    try:
        return not changes(Workspace.existing(workspace.folder))
    except UserError:
        return False


def _read_by_the_next(workspace: Workspace, stages: tuple[str, ...]) -> list[dict[str, str]]:
    """Hashes that go into the fingerprint of the stage behind."""
    previous = (find_stage(name).previous for name in stages)
    return [workspace.output_hashes(name) for name in previous if name in stages]


def _tamper_config(workspace: Workspace) -> Iterator[Tampering]:
    """Settings decide what a stage is made from: its settings are part of its fingerprint."""
    path = workspace.path("config.yaml")
    before = path.read_bytes()
    config = read_config(workspace.folder)
    document = config.model_dump(mode="json")
    for place in places(document):
        for change in (Change.KIND, Change.VALUE):
            after = changed(document, place, change)
            if after is not None:
                path.write_text(json.dumps(after) + "\n...\n")  # YAML holds JSON
                outcome = _config_outcome(workspace, config)
                yield Tampering("config.yaml", named(place), change, outcome, is_reported(workspace))
    path.write_bytes(before)


def _config_outcome(workspace: Workspace, config: BuildConfig) -> Outcome:
    try:
        after = read_config(workspace.folder)
        stages = [find_stage(name) for name in STAGES]
        same = all(stage.settings(config) == stage.settings(after) for stage in stages)
    except UserError:
        return Outcome.REFUSED
    return Outcome.SHOWN if same else Outcome.NOTICED


def named(place: Place) -> str:
    """A place in a document as people write it."""
    return ".".join("*" if isinstance(key, int) else key for key in place)


def expected(row: Tampering) -> set[Outcome]:
    """What a change must lead to.

    A file that the manifest lists is known by its hash, and a config by the settings of its stages, so nothing in them
    can change unseen. The manifest itself is what all is held against: what it only tells of a stage may be told
    otherwise, which SECURITY.md says.
    """
    parts = row.field.split(".")
    if row.file == "manifest.json" and parts == ["config"]:
        return set(Outcome)  # freshness goes by the settings; `report` goes by the hash, where there is one
    if row.file != "manifest.json" or parts == ["version"] or len(parts) < 3:
        return {Outcome.REFUSED, Outcome.NOTICED}
    outcome = RECORD_FIELDS[parts[2]]
    if parts[1:3] == [STAGES[-1], "outputs"] and row.change is Change.GONE:
        return set(Outcome)  # no stage behind reads what the last one left
    if outcome is Outcome.NOTICED:
        return {Outcome.REFUSED, Outcome.NOTICED}
    # What has a default may be left out, and a summary that no model describes may say what it likes.
    free = len(parts) > 3 or row.change is not Change.KIND
    return {Outcome.REFUSED, *([outcome] if free else [])}


def may_be_reported(row: Tampering) -> bool:
    """Files that decide a verdict are those that were built, or nothing is reported.

    The report's own files are made anew. The manifest is what all is held against: whoever rewrites it is believed in
    what it tells, and a file that it no longer lists, or whose stage it no longer knows, is not looked for.
    """
    parts = row.field.split(".")
    if row.file == "manifest.json" and row.change is Change.VALUE:
        return parts != ["config"] and (len(parts) < 4 or parts[2] != "outputs" or parts[1] == "report")
    return row.file in ("manifest.json", "report.json")


def undescribed() -> set[str]:
    """Fields of a stage's record for which nobody has said what a change of them leads to, and those that are gone."""
    return set(StageRecord.model_fields) ^ RECORD_FIELDS.keys()


def as_promised(row: Tampering) -> bool:
    """Did the change lead to what it must lead to?"""
    return row.outcome in expected(row) and (not row.reported or may_be_reported(row))


def table(rows: list[Tampering]) -> str:
    """Counts by file."""
    lines = [
        "| file | changes | refused | noticed | only shown | reported all the same | not as it must be |",
        "|---|---|---|---|---|---|---|",
    ]
    for file in dict.fromkeys(row.file for row in rows):
        of_file = [row for row in rows if row.file == file]
        counts = Counter(row.outcome for row in of_file)
        reported = sum(row.reported for row in of_file)
        wrong = sum(not as_promised(row) for row in of_file)
        figures = (len(of_file), *(counts[outcome] for outcome in Outcome), reported, wrong)
        lines.append(f"| {file} | {' | '.join(map(str, figures))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        print(table(tamper(make_folder(Path(home) / "build"))))
