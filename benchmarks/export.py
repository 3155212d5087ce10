"""What the export is worth: file size, export time, integer layers and speed of real-size networks (random weights).

    python benchmarks/export.py [--networks resnet50 mobilenetv2_100 deit_tiny_patch16_224] [--runs 15] [--relu]

One table on standard output, and the instructions of this CPU that decide it. Latency: batch 1, one thread, all
sessions of a network taking turns call by call in one process, medians after five warm-up rounds; "against float" is
against the same runtime's own default float. `quantize_static` is ONNX Runtime's own W8A8 QDQ model of the same
network; where ONNX Runtime refuses it with the options of our sessions, plain ones load it and its row says so.
`--relu` adds ours with ReLU in the place of GELU, as `quantize.relu_refit` makes them.
"""

# ruff: noqa: E402 - the sibling is imported before its folder leaves the search path

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sessions import exact_session, instructions, plain_session

# A script's own folder is searched first, and this file is named as our package `export` is.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.audit.engine_plan import audit_plan, quantizing_kernels
from export.audit.graph import read_onnx
from export.audit.onnxruntime import audit_onnxruntime
from export.engine import build_engine
from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.core.errors import reason_of
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.runtimes.tensorrt_packages import engine_builder
from genq_export.targets import rule_for

SIZE = (3, 224, 224)
STATIC = "quantize_static W8A8"
PLAIN_STATIC = f"{STATIC}, without the exact kernels"
Call = Callable[[np.ndarray[Any, Any]], object]


def main() -> None:
    """Measure each network and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet50", "mobilenetv2_100", "deit_tiny_patch16_224"])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--relu", action="store_true", help="also with ReLU in the place of GELU")
    options = parser.parse_args()
    print(f"CPU instructions: {instructions()}\n")
    print("| network | runtime | file | export s | MB | integer layers | load ms | latency ms | against float |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            for row in measure(name, Path(folder), options.runs, options.relu):
                print("| " + " | ".join(row) + " |", flush=True)


def measure(name: str, folder: Path, runs: int, relu: bool) -> list[list[str]]:
    """Rows of one network: float, W4A4 and W8A8 of ours, quantize_static; OpenVINO and TensorRT-RTX where installed."""
    import timm

    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    images = torch.randn(2, *SIZE)
    files = {"float32": folder / "float.onnx"}
    export_float(module, files["float32"])
    seconds: dict[str, float] = {}
    for bits in (4, 8):
        label = f"ours W{bits}A{bits}"
        files[label] = folder / f"w{bits}.onnx"
        seconds[label] = export_ours(module, name, images, bits, "onnxruntime", files[label])
        if relu:
            label = f"{label}, ReLU for GELU"
            files[label] = folder / f"w{bits}-relu.onnx"
            seconds[label] = export_ours(with_relu(module), name, images, bits, "onnxruntime", files[label])
    static = folder / "static.onnx"
    export_static(files["float32"], static, images.numpy())
    loaders = {("ONNX Runtime", label): onnxruntime_call for label in files}
    peer, loader = (STATIC, onnxruntime_call) if loads(static) else (PLAIN_STATIC, plain_onnxruntime_call)
    loaders["ONNX Runtime", peer] = loader
    if find_spec("openvino"):
        loaders |= {("OpenVINO", label): openvino_call for label in files}
    files[peer] = static
    calls = {key: loader(files[key[1]]) for key, loader in loaders.items()}
    latency = alternate(calls, images[:1].numpy(), runs)
    rows = []
    for key, loader in loaders.items():
        runtime, label = key
        rows.append(
            [
                name,
                runtime,
                label,
                f"{seconds[label]:.1f}" if label in seconds else "–",
                f"{files[label].stat().st_size / 1e6:.1f}",
                integer_layers(files[label]) if loader is onnxruntime_call and label != "float32" else "–",
                f"{load_time(loader, files[label]) * 1e3:.0f}",
                f"{latency[key] * 1e3:.1f}",
                f"{latency[runtime, 'float32'] / latency[key]:.2f}×",
            ]
        )
    if engine_builder() == "tensorrt_rtx":
        rows.append(rtx_row(module, name, images, folder))
    return rows


def with_relu(module: torch.nn.Module) -> torch.nn.Module:
    """A copy with ReLU in the place of GELU."""
    copied = deepcopy(module)
    for part in list(copied.modules()):
        for name, child in part.named_children():
            if isinstance(child, torch.nn.GELU):
                setattr(part, name, torch.nn.ReLU())
    return copied


def integer_layers(path: Path) -> str:
    """`54 of 54`, as ONNX Runtime runs them."""
    audit = audit_onnxruntime(path)
    return f"{sum(row.integer for row in audit)} of {len(audit)}"


def export_float(module: torch.nn.Module, path: Path) -> None:
    """The float network as ONNX with a free batch size."""
    batch = torch.export.Dim("batch", min=1, max=65536)
    torch.onnx.export(
        module, (torch.zeros(2, *SIZE),), path, dynamo=True, verbose=False, external_data=False, opset_version=21,
        input_names=["input"], output_names=["logits"], dynamic_shapes=({0: batch},),
    )  # fmt: skip


def export_ours(module: Any, name: str, images: torch.Tensor, bits: int, target: Any, path: Path) -> float:
    """Quantize by ranges alone and export; returns the seconds that folding and writing the file took."""
    config = BuildConfig.for_model(name, bits=bits, target=target)
    gm, _ = prepare(module, SIZE, config.quantize, rule_for(target))
    calibrate_ranges(gm, [images])
    started = time.perf_counter()
    export_onnx(fold(gm), SIZE, rule_for(target), path, int4_storage=True)
    return time.perf_counter() - started


def export_static(source: Path, path: Path, images: np.ndarray[Any, Any]) -> None:
    """ONNX Runtime's own QDQ quantization, per channel, in the form its documentation recommends for this CPU."""

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [{"input": image[None]} for image in images]

        def get_next(self) -> dict[str, Any] | None:
            return self._left.pop() if self._left else None

    quantize_static(
        source, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def rtx_row(module: Any, name: str, images: torch.Tensor, folder: Path) -> list[str]:
    """Build a TensorRT-RTX engine ahead of time; integer layers and residual sums are read off the plan."""
    path = folder / "tensorrt.onnx"
    export_seconds = export_ours(module, name, images, 4, "tensorrt", path)
    started = time.perf_counter()
    engine = build_engine(path, SIZE, "tensorrt_rtx")
    built = time.perf_counter() - started
    layers = audit_plan(engine.plan)
    integer = f"{sum(row.integer for row in layers)} of {len(layers)} in the plan"
    sums = residual_sums(path)
    if sums:
        fused = sums & {node for kernel in quantizing_kernels(engine.plan) for node in kernel}
        integer += f", {len(fused)} of {len(sums)} residual sums inside quantizing kernels"
    label = f"engine W4A4, built in {built:.1f} s"
    megabytes = f"{len(engine.plan) / 1e6:.1f}"
    return [name, "TensorRT-RTX", label, f"{export_seconds:.1f}", megabytes, integer, "–", "–", "–"]


def residual_sums(path: Path) -> set[str]:
    """Names of the additions of two quantized tensors in a file."""
    nodes = list(read_onnx(path).graph)
    quantized = {node.outputs[0] for node in nodes if node.op_type == "DequantizeLinear"}
    return {str(node.name) for node in nodes if node.op_type == "Add" and set(node.inputs) <= quantized}


def onnxruntime_call(path: Path) -> Call:
    """A session with one thread, as `genq_export.load` sets it up."""
    session = exact_session(path)
    return lambda image: session.run(None, {"input": image})


def plain_onnxruntime_call(path: Path) -> Call:
    """As the above without the exact kernels."""
    session = plain_session(path)
    return lambda image: session.run(None, {"input": image})


def loads(path: Path) -> bool:
    """Does ONNX Runtime take the file with the exact kernels? Without VNNI it refuses its own DeiT-tiny with them."""
    try:
        onnxruntime_call(path)
    except Exception as error:  # onnxruntime's exceptions have no public base class
        print(f"note: {path.name} with the exact kernels: {reason_of(error)}", file=sys.stderr)
        return False
    return True


def openvino_call(path: Path) -> Call:
    """OpenVINO with one thread, at the precision that it chooses itself."""
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return lambda image: model([image])


def load_time(load: Callable[[Path], Call], path: Path) -> float:
    """Median seconds of three loads."""
    return statistics.median(seconds(lambda: load(path)) for _ in range(3))


def alternate(calls: dict[Any, Call], image: np.ndarray[Any, Any], runs: int) -> dict[Any, float]:
    """Median seconds a call, taking turns."""
    times: dict[Any, list[float]] = {label: [] for label in calls}
    for turn in range(runs + 5):
        for label, call in calls.items():
            took = seconds(lambda call=call: call(image))
            if turn >= 5:
                times[label].append(took)
    return {label: statistics.median(values) for label, values in times.items()}


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
