"""What the page is told: preprocessing as a browser can do it, outputs by task, and the host's time of a call."""

from typing import Any

import pytest

from export.check.golden import Golden, Output
from genq_export.models.description import NetworkDescription
from genq_export.serve.description import description, host_figures, picture_steps
from runtime_tests.verify.results import Latency, Machine, Verification

PROCESSOR = {"image_processor_type": "ViTImageProcessor", "do_center_crop": True, "size": {"shortest_edge": 256}}


def network(**changes: Any) -> NetworkDescription:
    values: dict[str, Any] = {
        "name": "net", "input_size": (3, 224, 224), "mean": (0.5,) * 3, "std": (0.25,) * 3, "crop_pct": 0.875,
        "interpolation": "bilinear", "class_names": ("cat", "dog"), "classes": 2, "layout": "RGB",
    }  # fmt: skip
    return NetworkDescription.model_validate(values | changes)


@pytest.mark.parametrize(
    ("changes", "resize", "stretch", "order"),
    [
        ({}, [256, 256], False, "RGB"),
        ({"resize": 232, "layout": "BGR"}, [232, 232], False, "BGR"),
        ({"crop_pct": 1.0, "input_size": (1, 28, 20), "mean": (0.0,), "std": (1.0,)}, [28, 20], False, "grey"),
        ({"processor": PROCESSOR}, [256, 256], False, "RGB"),
        ({"processor": {"size": {"height": 224, "width": 224}}}, [224, 224], True, "RGB"),
    ],
)
def test_a_picture_becomes_numbers(changes: dict[str, Any], resize: list[int], stretch: bool, order: str) -> None:
    steps = picture_steps(network(**changes))
    assert (steps["resize"], steps["stretch"], steps["order"]) == (resize, stretch, order)


@pytest.mark.parametrize(
    ("task", "shape", "told"),
    [
        ("classification", (2,), "classification"),
        ("classification", (3, 7, 7), "tensors"),
        ("segmentation", (2, 8, 8), "segmentation"),
        ("dense", (1, 8, 8), "dense"),
        ("detection", (100, 4), "tensors"),
    ],
)
def test_outputs_are_told_by_what_they_can_be_drawn_as(
    task: str, shape: tuple[int, ...], told: str, tmp_path: Any
) -> None:
    output = Output(name="out", shape=shape, at=0)
    golden = Golden(
        network="net", grid="W8A8", target="onnxruntime", model="0", data="0", session={}, shape=(3, 8, 8), images=1,
        pixels=0, table=0, outputs=(output,), quantizers=(), least=0.999,
    )  # fmt: skip
    (tmp_path / "model.onnx").write_bytes(b"12345")
    found = description(golden, network(task=task), tmp_path / "model.onnx", "1.30.0", ())
    assert found["bytes"] == 5 and found["host"] is None
    assert found["outputs"] == [{"name": "out", "shape": shape, "task": told, "names": ["cat", "dog"]}]


def test_the_hosts_time_is_of_the_newest_run_that_has_one() -> None:
    machine = Machine(name="m", cpu="a cpu", cores=2, memory_gib=1.0, system="s")
    common: dict[str, Any] = {
        "machine": machine, "date": "d", "artefacts": {}, "versions": {}, "deployed": "onnxruntime",
        "evaluation": None, "backends": (),
    }  # fmt: skip
    latency = Latency(
        float_ms=2.0, deployed_ms=1.0, speedup=2.0, noise=0.0, significant=True, threads=1, batch=1,
        float_runtime="onnxruntime", deployed_runtime="onnxruntime", method="",
    )  # fmt: skip
    runs = (Verification(**common), Verification(**common, latency=latency), Verification(**common))
    assert host_figures(runs) == {"machine": "a cpu", "runtime": "onnxruntime", "threads": 1, "median_ms": 1.0}
    assert host_figures(runs[:1]) is None
