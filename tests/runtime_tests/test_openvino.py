"""OpenVINO reads the very file that is made for ONNX Runtime: its codes, its answers, and its damaged files."""

from pathlib import Path

import numpy as np
import pytest

from genq_export.config import BuildConfig
from genq_export.models import LoadedModel
from genq_export.progress import Progress
from genq_export.workspace import Workspace
from runtime_tests import verify
from runtime_tests.errors import BackendError
from runtime_tests.isolation import IsolatedBackend
from runtime_tests.results import Verification

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def measured(pristine_build: Path, config: BuildConfig, model: LoadedModel) -> Verification:
    values = config.model_dump()
    values["verify"]["backends"] = ("reference", "oracle", "onnxruntime", "openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "speed_and_size", lambda *_: (None, None))
        patch.setattr(verify, "_quality", lambda *_: ((), ()))
        workspace = Workspace.existing(pristine_build)
        return verify.verify(workspace, BuildConfig.parse(values), model, Progress(quiet=True))


def test_every_code_of_the_file_is_the_oracles(measured: Verification) -> None:
    fidelity = next(item for item in measured.fidelity if item.backend == "openvino")
    assert fidelity.codes > 3_000_000 and fidelity.missing == ()
    assert fidelity.differing == 0, fidelity.explanation


def test_answers_are_those_of_the_reference(measured: Verification) -> None:
    """Watched, OpenVINO computes the file as written; unwatched it fuses, and what that moves is measured apart."""
    assert measured.agreement["openvino_vs_reference"] >= 0.98
    assert abs(measured.accuracy["openvino"].top1 - measured.accuracy["reference"].top1) <= 0.02
    assert measured.agreement["onnxruntime_vs_reference"] == 1.0


def test_logits_do_not_depend_on_the_batch(pristine_build: Path, images: np.ndarray) -> None:
    backend = IsolatedBackend("openvino", pristine_build / "model.onnx", 60.0, threads=1)
    try:
        assert backend.title.startswith("OpenVINO 20") and backend.device == "cpu"
        whole = backend.logits(images)
        parts = np.concatenate([backend.logits(part) for part in np.array_split(images, 5)])
        assert whole.shape == (len(images), 10) and np.allclose(whole, parts, atol=1e-4)
        assert backend.peak_memory_mib() > 10
    finally:
        backend.close()


def test_a_damaged_file_is_a_line(tmp_path: Path, pristine_build: Path) -> None:
    content = (pristine_build / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(BackendError, match=r"cannot read model\.onnx"):
        IsolatedBackend("openvino", tmp_path / "model.onnx", 60.0)
