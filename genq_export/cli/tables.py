"""Tables for the terminal: what can be built, what works here, what a build would do, what an audit found."""

import importlib.util
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from genq_export.models.source import all_doors
from genq_export.runtimes.tensorrt_packages import engine_builder

if TYPE_CHECKING:
    from export.audit.onnxruntime import LayerAudit

_MOST_OFFERS = 40  # of one door


def plan_table(plan: dict[str, Any]) -> Table:
    """The stages of a plan, which of them are already up to date, and what the others would do."""
    table = Table(title=f"plan for {plan['folder']}", title_justify="left")
    table.add_column("stage")
    table.add_column("state")
    table.add_column("work")
    table.caption = "\n".join(f"note: {note}" for note in plan["notes"]).replace("[", "\\[") or None
    for row in plan["stages"]:
        table.add_row(row["stage"], "up to date" if row["fresh"] else "to do", row["work"])
    return table


def audit_table(layers: "Iterable[LayerAudit]") -> Table:
    """One row a layer: integer or float, and as which operator or why not."""
    table = Table()
    for column in ("layer", "operator", "runs in", "as / why not"):
        table.add_column(column)
    for layer in layers:
        table.add_row(layer.name, layer.op, "integers" if layer.integer else "[bold]float[/]", layer.detail)
    return table


def models_table(search: str) -> Table:
    """What every door for networks offers whose name contains `search`, with where its weights come from."""
    table = Table()
    for column in ("name", "weights", "calibration generator"):
        table.add_column(column)
    more = 0
    for door in all_doors():
        offers = door.offers(search)
        for offer in offers[:_MOST_OFFERS]:
            table.add_row(*map(escape, (offer.name, offer.weights, offer.generator)))
        more += len(offers[_MOST_OFFERS:])
    table.caption = (
        f"and {more} more" if more > 0 else "" if search else "timm's networks: genq-export models PART_OF_NAME"
    )
    return table


def doctor_table() -> Table:
    """What this machine has, what works with it, and what to install for the rest."""
    import torch

    table = Table()
    for column in ("", "found", "note"):
        table.add_column(column)
    table.add_row("python", platform.python_version(), f"{os.cpu_count()} cores, {platform.machine()}")
    for package in ("genq-export", "torch", "torchvision", "timm", "diffusers", "transformers", "onnx", "onnxruntime"):
        table.add_row(package, _version(package), "")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    table.add_row("GPU", gpu, "" if gpu != "none" else "everything runs on the CPU; --device cuda needs one")
    table.add_row("target onnxruntime", "works", "integer kernels on the CPU")
    builder = engine_builder()
    table.add_row(
        "target tensorrt",
        "ONNX and engine" if builder else "ONNX only",
        f"engines by {builder}" if builder else "for engines: pip install 'genq-export\\[tensorrt-rtx]'",
    )
    for finding in (finding for door in all_doors() for finding in door.findings()):
        table.add_row(*map(escape, (finding.thing, finding.found, finding.note)))
    cached = _cached_pipelines()
    table.add_row(
        "generators in the hub cache",
        ", ".join(cached) or "none",
        "" if cached else "Stable Diffusion v1-5 is fetched on first use, or give --generator DIR",
    )
    openvino = importlib.util.find_spec("openvino")
    table.add_row(
        "openvino", _version("openvino"), "" if openvino else "optional: pip install 'genq-export\\[openvino]'"
    )
    return table


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
