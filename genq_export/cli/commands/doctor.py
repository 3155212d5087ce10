"""`genq-export doctor`"""

import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from genq_export.cli.console import say, show
from genq_export.cli.options import Json
from genq_export.config.registry import TARGETS

Row = tuple[str, str, str]
"""A thing, what was found of it, and a note."""


def doctor(as_json: Json = False) -> None:
    """Versions, devices, and which targets and generators work on this machine."""
    rows = list(_rows())
    show(doctor_table(rows))
    if as_json:
        say(json.dumps([{"thing": thing, "found": found, "note": note} for thing, found, note in rows]))


def doctor_table(rows: Iterable[Row]) -> Table:
    """What this machine has, what works with it, and what to install for the rest."""
    table = Table()
    for column in ("", "found", "note"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table


def _rows() -> Iterator[Row]:
    yield "python", platform.python_version(), f"{os.cpu_count()} cores, {platform.machine()}"
    for package in ("genq-export", "torch", "torchvision", "timm", "diffusers", "transformers", "onnx", "onnxruntime"):
        yield package, _version(package), ""
    if importlib.util.find_spec("torch"):
        yield from _with_torch()
    else:
        yield "commands", "verify-file, audit, overlay", "the others: pip install 'genq-export[all]'"
    openvino = importlib.util.find_spec("openvino")
    yield "openvino", _version("openvino"), "" if openvino else "optional: pip install 'genq-export[openvino]'"


def _with_torch() -> Iterator[Row]:
    """Devices, targets, doors, and what the hub's cache holds."""
    import torch

    from genq_export.models.source import all_doors
    from genq_export.targets import target

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    yield "GPU", gpu, "" if gpu != "none" else "everything runs on the CPU"
    for name in TARGETS:
        works, note = target(name).on_this_machine()
        yield f"target {name}", works, note
    for finding in (finding for door in all_doors() for finding in door.findings()):
        yield finding.thing, finding.found, finding.note
    cached = ", ".join(_cached_pipelines())
    note = "" if cached else "Stable Diffusion v1-5 is fetched on first use, or give --generator DIR"
    yield "generators in the hub cache", cached or "none", note


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cached_pipelines() -> list[str]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(
        repo.repo_id
        for repo in repositories
        if any(file.file_name == "model_index.json" for revision in repo.revisions for file in revision.files)
    )
