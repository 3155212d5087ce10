"""What the export is worth: file size, export time, integer layers and speed of real-size networks (random weights).

    python benchmarks/integer_export.py [--networks resnet50 mobilenetv2_100 deit_tiny_patch16_224] [--runs 15]

One table on standard output. Latency: batch 1, one thread, float and integer sessions taking turns call by call in one
process, medians after five warm-up rounds. `quantize_static` is ONNX Runtime's own W8A8 QDQ model of the same network.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.audit import audit_onnxruntime
from export.fold import fold
from export.qdq import export_onnx
from export.tensorrt import audit_plan, build_engine
from genq_export.config import BuildConfig
from genq_export.preflight import engine_builder
from genq_export.quantize.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from genq_export.torchvision_ops import ensure_torchvision

SIZE = (3, 224, 224)


def main() -> None:
    """Measure each network and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet50", "mobilenetv2_100", "deit_tiny_patch16_224"])
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print("| network | file | export s | MB | integer layers | load ms | latency ms | against float |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            for row in measure(name, Path(folder), options.runs):
                print("| " + " | ".join(row) + " |", flush=True)


def measure(name: str, folder: Path, runs: int) -> list[list[str]]:
    """Rows of one network: float, W4A4 and W8A8 of ours, quantize_static, and TensorRT-RTX where it is installed."""
    ensure_torchvision()
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
    files["quantize_static W8A8"] = folder / "static.onnx"
    export_static(files["float32"], files["quantize_static W8A8"], images.numpy())
    latency = alternate({label: session(path) for label, path in files.items()}, images[:1].numpy(), runs)
    rows = []
    for label, path in files.items():
        audit = [] if label == "float32" else audit_onnxruntime(path)
        layers = f"{sum(row.integer for row in audit)} of {len(audit)}" if audit else "–"
        rows.append(
            [
                name,
                label,
                f"{seconds[label]:.1f}" if label in seconds else "–",
                f"{path.stat().st_size / 1e6:.1f}",
                layers,
                f"{load_time(path) * 1e3:.0f}",
                f"{latency[label] * 1e3:.1f}",
                f"{latency['float32'] / latency[label]:.2f}×",
            ]
        )
    if engine_builder() == "tensorrt_rtx":
        rows.append(rtx_row(module, name, images, folder))
    return rows


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
    """Build a TensorRT-RTX engine ahead of time; integer layers are read off the plan."""
    path = folder / "tensorrt.onnx"
    export_seconds = export_ours(module, name, images, 4, "tensorrt", path)
    started = time.perf_counter()
    engine = build_engine(path, SIZE, "tensorrt_rtx")
    built = time.perf_counter() - started
    layers = audit_plan(engine.plan)
    integer = f"{sum(row.integer for row in layers)} of {len(layers)} in the plan"
    label = f"TensorRT-RTX engine W4A4 (built in {built:.1f} s)"
    return [name, label, f"{export_seconds:.1f}", f"{len(engine.plan) / 1e6:.1f}", integer, "–", "–", "–"]


def session(path: Path) -> onnxruntime.InferenceSession:
    """A default session with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def load_time(path: Path) -> float:
    """Median seconds of three loads."""
    return statistics.median(seconds(lambda: session(path)) for _ in range(3))


def alternate(sessions: dict[str, Any], image: np.ndarray[Any, Any], runs: int) -> dict[str, float]:
    """Median seconds a call, the sessions taking turns."""
    times: dict[str, list[float]] = {label: [] for label in sessions}
    for turn in range(runs + 5):
        for label, chosen in sessions.items():
            took = seconds(lambda chosen=chosen: chosen.run(None, {"input": image}))
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
