"""What the page is told of a build: names, preprocessing, outputs and the host's own figures."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.check.golden import Golden, Output
from genq_export.models.description import NetworkDescription
from genq_export.tasks.boxes import layout_of
from genq_export.tasks.detection import DETECTION
from genq_export.tasks.task import task_of
from runtime_tests.verify.results import Verification


def description(
    golden: Golden,
    network: NetworkDescription,
    model: Path,
    runtime: str,
    runs: tuple[Verification, ...],
    webgpu: bool = False,
) -> dict[str, Any]:
    """JSON for the page.

    Args:
        golden: of the build's check.
        network: what the build says of its network.
        model: the file.
        runtime: version of onnxruntime-web.
        runs: of `verify`, the newest last.
        webgpu: has onnxruntime-web its files for WebGPU?
    """
    return {
        "title": f"{golden.network} {golden.grid}",
        "target": golden.target,
        "bytes": model.stat().st_size,
        "runtime": runtime,
        "webgpu": webgpu,
        "session": golden.session,
        "input": golden.input,
        "picture": picture_steps(network),
        "outputs": [_output(output, network) for output in golden.outputs],
        "detection": _detection(golden.outputs, network),
        "host": host_figures(runs),
    }


def picture_steps(network: NetworkDescription) -> dict[str, Any]:
    """How a picture becomes numbers, as a browser can do it.

    resize: (height, width) that the picture is made to cover, or to be where `stretch` says so; the middle is cut out.
    """
    channels, height, width = network.input_size
    resize, stretch = _resized(network)
    return {
        "size": [channels, height, width],
        "resize": list(resize),
        "stretch": stretch,
        "mean": list(network.mean),
        "std": list(network.std),
        "order": network.layout if channels == 3 else "grey",
    }


def host_figures(runs: tuple[Verification, ...]) -> dict[str, Any] | None:
    """Milliseconds of a call in the newest run that measured them; None where none did."""
    for run in reversed(runs):
        if run.latency is not None:
            return {
                "machine": run.machine.cpu,
                "runtime": run.latency.deployed_runtime,
                "threads": run.latency.threads,
                "median_ms": run.latency.deployed_ms,
            }
    return None


def _output(output: Output, network: NetworkDescription) -> dict[str, Any]:
    """Name, shape, the task whose answers it holds, and its classes: what the page can draw."""
    task = network.task if task_of(network.task).fits({output.name: output.shape}) else "tensors"
    names = network.class_names or tuple(f"class {number}" for number in range(network.classes))
    return {"name": output.name, "shape": output.shape, "task": task, "names": list(names)}


def _detection(outputs: tuple[Output, ...], network: NetworkDescription) -> dict[str, Any] | None:
    """Where a detector's boxes and scores are; None for other networks."""
    layout = layout_of({output.name: output.shape for output in outputs}) if network.task == DETECTION.name else None
    return None if layout is None else asdict(layout)


def _resized(network: NetworkDescription) -> tuple[tuple[int, int], bool]:
    _, height, width = network.input_size
    if network.processor is not None:
        return _by_processor(network.processor, height, width)
    if network.resize is not None:
        return (network.resize, network.resize), False
    return (int(height / network.crop_pct), int(width / network.crop_pct)), False


def _by_processor(settings: Mapping[str, Any], height: int, width: int) -> tuple[tuple[int, int], bool]:
    """Image processors of transformers say `size` in one of two ways."""
    size = settings.get("size")
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if isinstance(shortest, int) and settings.get("do_center_crop"):
        return (shortest, shortest), False
    return (height, width), not settings.get("do_center_crop")
