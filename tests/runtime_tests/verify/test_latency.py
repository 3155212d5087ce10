"""Noise decides what counts as a difference."""

import pytest

from genq_export.core.errors import BackendError
from runtime_tests.verify import latency
from runtime_tests.verify.results import LatencyRow


def row(
    variant: str, median: float, runtime: str = "onnxruntime", batch: int = 1, parts: tuple[float, ...] = ()
) -> LatencyRow:
    return LatencyRow.model_validate(
        {"runtime": runtime, "variant": variant, "batch": batch, "threads": 1, "runs": 10, "median_ms": median,
         "p90_ms": median, "p99_ms": median, "images_per_second": 1000 / median, "parts_ms": parts}
    )  # fmt: skip


def test_the_fastest_float_runtime_is_the_baseline() -> None:
    rows = (row("float", 4.0), row("float", 3.0, "openvino"), row("deployed", 1.5), row("deployed again", 1.53))
    result = latency.summarise((*rows, row("float", 0.1, batch=8)), "onnxruntime")
    assert (result.float_ms, result.float_runtime, result.speedup) == (3.0, "openvino", 2.0)
    assert result.noise == pytest.approx(0.02)
    assert result.significant
    assert "the fastest of ONNX Runtime and OpenVINO" in result.method


def test_a_difference_below_the_noise_is_none() -> None:
    rows = (row("float", 1.02), row("deployed", 1.0), row("deployed again", 1.1))
    assert not latency.summarise(rows, "onnxruntime").significant


def test_medians_that_agree_by_chance_hide_no_noise() -> None:
    """A neighbour slows one copy in the first half and the other in the second: the medians of all calls are equal."""
    rows = (
        row("float", 1.1),
        row("deployed", 1.0, parts=(1.0, 1.3, 1.0, 1.0)),
        row("deployed again", 1.0, parts=(1.25, 1.0, 1.0, 1.0)),
    )
    result = latency.summarise(rows, "onnxruntime")
    assert result.noise == pytest.approx(0.25)
    assert not result.significant
    assert latency.summarise((row("float", 1.3), *rows[1:]), "onnxruntime").significant


def test_without_both_sides_there_is_no_figure() -> None:
    with pytest.raises(BackendError):
        latency.summarise((row("float", 1.0),), "onnxruntime")
    with pytest.raises(BackendError):
        latency.summarise((), "onnxruntime")


def test_an_engine_on_a_gpu_is_held_against_one_in_fp16() -> None:
    rows = tuple(
        row(name, 0.5, "tensorrt").model_copy(update={"cuda_graph": True})
        for name in ("float", "deployed", "deployed again")
    )
    result = latency.summarise(rows, "tensorrt")
    assert not result.significant
    assert "FP16 engine of the same graph" in result.method and "CUDA graph" in result.method
    assert "thread" not in result.method
