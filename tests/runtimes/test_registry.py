"""Every registered runtime: found by name, and what it says of itself."""

from pathlib import Path

import numpy as np
import pytest

from genq_export.config.registry import RUNTIMES, TARGETS
from genq_export.core.errors import BackendMissing, UserError
from genq_export.runtimes import runtime, runtime_titles, runtimes
from genq_export.targets import rule_for
from tests.runtimes.conftest import Expected


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_is_known_by_its_name(name: str) -> None:
    assert runtime(name).name == name and runtime(name).title == runtime_titles()[name]


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        UserError, match=r"runtime 'openvin' is not known \(did you mean openvino\?\): give one of onnx"
    ):
        runtime("openvin")


def test_readers_are_told_how_a_runtime_runs_the_file() -> None:
    titles = runtime_titles()
    assert titles["onnxruntime-unfused"] == "ONNX Runtime, optimisations off"
    assert titles["openvino"] == "OpenVINO" and titles["oracle"] == "integer oracle"


def test_every_target_is_read_by_its_own_runtime() -> None:
    read = {name: [item.name for item in runtimes() if item.reads(rule_for(name))] for name in TARGETS}
    assert "tensorrt" in read["tensorrt"] and "tensorrt" not in read["onnxruntime"], "it takes no UINT8"
    assert "onnxruntime" in read["onnxruntime"] and "onnxruntime-unfused" in read["tensorrt"]


@pytest.mark.parametrize("name", RUNTIMES)
def test_sessions_give_codes_and_logits_of_any_batch(
    name: str, qdq_file: Path, images: np.ndarray, expected: Expected
) -> None:
    try:
        session = runtime(name).open(qdq_file, 1)
    except BackendMissing as missing:
        pytest.skip(str(missing))
    outputs, codes = session.codes(images)
    logits = outputs["logits"]
    assert session.name == name and session.title.startswith(runtime(name).product)
    assert codes.keys() == {"input", "act"} and logits.dtype == np.float32
    assert np.abs(codes["act"].astype(np.int64) - expected(images)).max() <= (0 if name == "onnxruntime" else 1)
    assert np.allclose(session.outputs(images)["logits"], logits, atol=1e-5)
    assert np.allclose(
        np.concatenate([session.outputs(images[:2])["logits"], session.outputs(images[2:])["logits"]]),
        logits,
        atol=1e-5,
    )
    call, graph = session.prepared(images)
    assert session.stopwatch()(call) > 0 and (graph is None) != runtime(name).on_gpu
    assert session.peak_memory_mib() > 10
    session.close()
