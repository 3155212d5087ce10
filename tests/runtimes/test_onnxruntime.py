"""How sessions of ONNX Runtime are set up, and what they say of files and batches that they do not take."""

from pathlib import Path

import numpy as np
import pytest

from genq_export.core.errors import BackendError
from genq_export.runtimes.onnxruntime import (
    EXACT_CODE,
    EXACT_PRODUCTS,
    ONNXRUNTIME,
    ONNXRUNTIME_UNFUSED,
    largest_sum,
    session_options,
    sums_saturate,
)

ENTRY = "session.x64quantprecision"


def test_sessions_ask_for_exact_sums_where_they_would_saturate() -> None:
    if sums_saturate():
        assert session_options().get_session_config_entry(ENTRY) == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            session_options().get_session_config_entry(ENTRY)
    assert session_options(saturating=True).get_session_config_entry(ENTRY) == "1"


def test_the_option_makes_sums_exact_on_any_processor() -> None:
    assert largest_sum(EXACT_PRODUCTS) == EXACT_CODE
    assert largest_sum() <= EXACT_CODE
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if "vnni" in flags:
        assert not sums_saturate()


def test_what_it_does_not_load_or_run_is_one_line(qdq_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(qdq_file.read_bytes()[:100])
    with pytest.raises(BackendError, match=r"^ONNX Runtime [\d.]+ does not load broken\.onnx: .+$"):
        ONNXRUNTIME.open(broken)
    with pytest.raises(BackendError, match=r"optimisations off failed on a batch of shape \(1, 2, 8, 8\): .+$"):
        ONNXRUNTIME_UNFUSED.open(qdq_file).outputs(np.zeros((1, 2, 8, 8), np.float32))["logits"]
