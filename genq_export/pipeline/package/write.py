"""`genq-export package`: a folder that Optimum and transformers.js load, from a build."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genq_export.core.errors import BackendError, UserError
from genq_export.core.workspace import Workspace, write_atomic, writing
from genq_export.models.description import NetworkDescription, read_description
from genq_export.network.onnx_graph import read_model
from genq_export.pipeline.package.card import model_card
from genq_export.pipeline.package.files import MODEL, check_files, output_names, renamed
from genq_export.pipeline.package.float_model import FLOAT, float_model
from genq_export.pipeline.package.settings import model_settings, preprocessor_settings
from runtime_tests.report.model import Report, read_report

_REPORT = ("report.html", "report.json", "summary.md")


@dataclass(frozen=True)
class Wish:
    """What a build does not know of itself.

    model_type: of transformers. license_name: as the hub calls it. base_model: the hub's name of the float network.
    with_float: the float network, too.
    """

    model_type: str | None = None
    license_name: str | None = None
    base_model: str | None = None
    with_float: bool = False


def package_files(folder: Path, wish: Wish) -> tuple[dict[str, bytes], list[str]]:
    """Content by relative name, and what the package lacks.

    Raises:
        UserError: where the folder is no finished build, or one of an engine alone.
    """
    workspace, report = Workspace.existing(folder), read_report(folder)
    network = read_description(folder)
    if network is None:
        raise UserError(f"{folder} has no network.json: run `genq-export export {folder}` again")
    try:
        graph = read_model(workspace.path("model.onnx"))
    except BackendError as error:
        raise UserError(f"{folder}: {error}: run `genq-export export {folder}` again") from None
    model = renamed(graph, network.task)
    preprocessor, lacking = preprocessor_settings(network)
    notes = [lacking] if lacking is not None else []
    outputs = output_names(graph, network.task)
    names = [name for others in outputs.values() for name in others]
    texts = _texts(report, network, names, preprocessor, wish, notes)
    files = {name: content.encode() for name, content in texts.items()}
    files |= {MODEL: model, **check_files(workspace, model, outputs)}
    if wish.with_float:
        files[FLOAT], note = float_model(workspace)
        notes += [note] if note is not None else []
    for name in _REPORT:
        if workspace.path(name).is_file():
            files[f"report/{name}"] = workspace.path(name).read_bytes()
    return files, notes


def _texts(
    report: Report,
    network: NetworkDescription,
    outputs: list[str],
    preprocessor: dict[str, Any] | None,
    wish: Wish,
    notes: list[str],
) -> dict[str, str]:
    processor = None if preprocessor is None else str(preprocessor.get("image_processor_type", ""))
    texts = {
        "README.md": model_card(
            report, network, outputs, processor, wish.license_name, wish.base_model, notes, wish.with_float
        ),
        "config.json": _json(model_settings(network, report, wish.model_type)),
    }
    return texts | ({"preprocessor_config.json": _json(preprocessor)} if preprocessor is not None else {})


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_package(files: dict[str, bytes], place: Path) -> None:
    """Write into a new folder.

    Raises:
        UserError: where the folder is not new, or cannot be written.
    """
    if place.is_symlink() or place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise UserError(f"{place} is there and not empty: give a new folder")
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(place / name, content)
