"""Where the time of a file goes: its operators as ONNX Runtime runs them, on one thread.

    python benchmarks/operator_times.py [--networks deit_tiny_patch16_224 mobilenetv2_100] [--runs 60]
    python benchmarks/operator_times.py --networks net.onnx --input-size 3,48,192

Networks of timm with random weights, or ONNX files; W8A8, batch 1. Each network's float file and ours, run in turns;
of each operator the median of what the runtime's own profiler measured, summed by kind. The last column is what the
products take alone: no way of writing the rest of the file can make it faster than that.
"""

# ruff: noqa: E402 - the sibling is imported before its folder leaves the search path

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from sessions import instructions, profiled_session

# A script's own folder is searched first, and a file in it is named as our package `export` is.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import genq_export  # noqa: F401, I001 - makes torchvision, which timm imports, load beside a CPU build of torch
import numpy as np
import timm
import torch

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.models.onnx_import.load import load_network
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Size = tuple[int, int, int]
WARM_UP = 10
KINDS = {
    "products": (
        "QLinearConv", "QLinearMatMul", "MatMulIntegerToFloat", "QGemm", "MatMul", "FusedMatMul", "Conv", "Gemm",
        "FusedConv", "FusedGemm",
    ),
    "quantize": ("QuantizeLinear", "DequantizeLinear", "Clip"),
    "moves": (
        "Transpose", "Reshape", "Split", "Squeeze", "Concat", "Slice", "Expand", "Gather", "Shape", "ReorderOutput",
    ),
}  # fmt: skip


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["deit_tiny_patch16_224", "mobilenetv2_100"])
    parser.add_argument("--input-size", type=_size, default=(3, 224, 224), metavar="C,H,W")
    parser.add_argument("--runs", type=int, default=60)
    options = parser.parse_args()
    print(f"CPU instructions: {instructions()}\n")
    print("| network | file | ms | products | to and from codes | moves | the rest, by operator | products alone |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            files = write_files(name, options.input_size, Path(folder))
            for label, times in profile(files, options.input_size, options.runs).items():
                print(row(Path(name).name, label, times), flush=True)


def _size(text: str) -> Size:
    channels, height, width = map(int, text.split(","))
    return channels, height, width


def write_files(name: str, size: Size, folder: Path) -> dict[str, Path]:
    """The float file and ours, quantized by ranges alone."""
    torch.manual_seed(0)
    if name.endswith(".onnx"):
        files, module = {"float32": Path(name)}, load_network(Path(name), size).network.eval().requires_grad_(False)
    else:
        files, module = {"float32": folder / f"{name}.onnx"}, timm.create_model(name).eval()
        torch.onnx.export(
            module, (torch.zeros(1, *size),), files["float32"], dynamo=True, verbose=False, external_data=False,
            opset_version=21,
        )  # fmt: skip
    rule = rule_for("onnxruntime")
    network, _ = prepare(module, size, BuildConfig.for_model(name, bits=8).quantize, rule)
    calibrate_ranges(network, [torch.randn(2, *size)])
    files["W8A8"] = folder / "w8.onnx"
    export_onnx(fold(network), size, rule, files["W8A8"], int4_storage=True)
    return files


def profile(files: dict[str, Path], size: Size, runs: int) -> dict[str, dict[str, float]]:
    """Milliseconds by operator of each file, their calls in turns."""
    sessions = {label: profiled_session(path) for label, path in files.items()}
    image = np.random.default_rng(0).standard_normal((1, *size), dtype=np.float32)
    for _ in range(runs + WARM_UP):
        for session in sessions.values():
            session.run(None, {session.get_inputs()[0].name: image})
    return {
        label: by_operator(json.loads(Path(session.end_profiling()).read_text())) for label, session in sessions.items()
    }


def by_operator(events: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of the timed calls of each node, summed over the nodes of an operator."""
    calls: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            calls[event["args"]["op_name"], event["name"]].append(event["dur"] / 1000)
    times: dict[str, float] = defaultdict(float)
    for (operator, _), values in calls.items():
        times[operator] += statistics.median(values[WARM_UP:])
    return dict(times)


def row(name: str, label: str, times: dict[str, float]) -> str:
    """One line of the table."""
    kinds = {kind: sum(times.get(operator, 0.0) for operator in operators) for kind, operators in KINDS.items()}
    known = {operator for operators in KINDS.values() for operator in operators}
    rest = sorted(((took, operator) for operator, took in times.items() if operator not in known), reverse=True)
    words = ", ".join(f"{operator} {took:.2f}" for took, operator in rest if took >= 0.05) or "–"
    total = sum(times.values())
    cells = [name, label, f"{total:.2f}", *(f"{took:.2f}" for took in kinds.values()), words]
    return "| " + " | ".join([*cells, f"{kinds['products'] / total:.0%}"]) + " |"


if __name__ == "__main__":
    main()
