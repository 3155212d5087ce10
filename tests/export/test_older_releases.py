"""A file for an older ONNX Runtime: lowest opset, 8-bit storage, and the same codes there and here."""

import importlib.util
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from export.audit.onnxruntime import audit_onnxruntime
from export.run import run as run_export
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.config.releases import release_of
from genq_export.core.errors import BackendError, UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.quantization.run import run as run_quantize
from genq_export.runtimes import onnxruntime
from runtime_tests.qdq_file.loading import Manner, load

OLD = "1.16.3"
QUIET = Progress(quiet=True)


def built(folder: Path, name: str, bits: int, minimum_runtime: str | None = "1.16") -> Path:
    """A quantized network of the zoo, exported with its check."""
    config = BuildConfig.for_model(name, bits=bits, preset="quick", minimum_runtime=minimum_runtime)
    folder.mkdir(exist_ok=True)
    images = [folder / f"{number:02d}.png" for number in range(16)]
    for path, pixels in zip(images, zoo.few_shot_set()[0], strict=False):
        Image.fromarray(pixels).save(path)
    model, workspace = load_model(config.model), Workspace.open(folder / "build")
    run_quantize(workspace, config, model, images, folder / "partial", QUIET)
    run_export(workspace, config, model, QUIET, images)
    return workspace.folder


def checked(folder: Path, python: str) -> dict[str, object]:
    """What the check that travels with a file says in an environment."""
    result = folder / "result.json"
    program = folder / "check" / "check.py"
    subprocess.run([python, program, "--runs", "0", "--output", result], check=True, capture_output=True)
    found: dict[str, object] = json.loads(result.read_text())
    return found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.14", "from 1.15 on"), ("1.2", "lost a zero"), ("sixteen", "from 1.15 on"), ("2.0.0", "from 1.15 on"),
        ("true", "not true or false"),
    ],
)  # fmt: skip
def test_what_is_no_release_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"^configuration: export\.minimum_runtime: .*{reason}"):
        BuildConfig.for_model("fashion_resnet", settings=[f"export.minimum_runtime={text}"])


def test_a_number_and_a_text_are_the_same_release() -> None:
    for text in ("1.16", "'1.16'"):
        config = BuildConfig.for_model("fashion_resnet", settings=[f"export.minimum_runtime={text}"])
        assert config.export.minimum_runtime == "1.16"
    assert BuildConfig.for_model("fashion_resnet", minimum_runtime="1.20").export.minimum_runtime == "1.20"


def test_a_file_in_the_lowest_opset_computes_the_oracles_codes(tmp_path: Path) -> None:
    folder = built(tmp_path, "fashion_resnet", 4)
    model = onnx.load(folder / "model.onnx")
    assert [entry.version for entry in model.opset_import] == [13] and model.ir_version == 7
    assert TensorProto.INT4 not in {entry.data_type for entry in model.graph.initializer}
    assert "taken by ONNX Runtime 1.15 or newer" in (folder / "README.md").read_text()
    assert checked(folder, sys.executable)["verdict"] == "same codes"


def test_a_release_that_takes_all_but_four_bits_gets_eight(tmp_path: Path) -> None:
    folder = built(tmp_path, "fashion_vit", 4, "1.20")
    model = onnx.load(folder / "model.onnx")
    assert [entry.version for entry in model.opset_import] == [21]
    assert TensorProto.INT4 not in {entry.data_type for entry in model.graph.initializer}
    assert "taken by ONNX Runtime 1.20 or newer" in (folder / "README.md").read_text()


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python of an environment with an old release and nothing else."""
    place = tmp_path_factory.mktemp("old") / "environment"
    python = str(place / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    wanted = [f"onnxruntime=={OLD}", "numpy<2"]
    made = subprocess.run([python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"ONNX Runtime {OLD} cannot be installed here: {made.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["fashion_resnet", "fashion_mobilenet", "fashion_vit"])
def test_the_old_release_and_the_one_here_compute_the_same(
    tmp_path: Path, old_python: str, name: str, bits: int
) -> None:
    folder = built(tmp_path, name, bits)
    for python in (old_python, sys.executable):
        result = checked(folder, python)
        assert result["same_answers"] == result["images"]
        if name == "fashion_vit":  # LayerNorm, softmax and GELU are float, and each release rounds its own way
            assert float(str(result["codes_equal"])) >= 0.999
        else:
            assert result["verdict"] == "same codes" and result["outputs_equal"] is True


def test_a_release_that_exact_sums_would_end_is_refused_but_for_files_that_are_made_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, older = (built(tmp_path / str(wanted), "fashion_resnet", 8, wanted) for wanted in (None, "1.22"))
    monkeypatch.setattr(onnxruntime, "sums_saturate", lambda: True)
    monkeypatch.setattr(onnxruntime, "release_of", lambda _: release_of("1.22"))
    with pytest.raises(BackendError, match=r"ends the process over model\.onnx .* --set export\.minimum_runtime=1\."):
        onnxruntime.ONNXRUNTIME.open(newest / "model.onnx", 1)
    onnxruntime.ONNXRUNTIME.open(older / "model.onnx", 1).close()
    with pytest.raises(UserError, match=r"ends the process over model\.onnx"):
        audit_onnxruntime(newest / "model.onnx")
    audit_onnxruntime(older / "model.onnx")
    with pytest.raises(BackendError, match="ends the process over the file"):
        load(Manner("onnxruntime", exact_sums=True), newest / "model.onnx")
    since = {
        folder: json.loads((folder / "check" / "golden.json").read_text())["exact_since"] for folder in (newest, older)
    }
    assert since == {newest: "1.30", older: None}


def test_the_check_of_a_build_refuses_a_release_that_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location(
        "check_of_a_build", str(files("export.check") / "assets" / "check.py")
    )
    assert spec is not None and spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    monkeypatch.setattr(check.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(Path, "read_text", lambda _: "flags: avx2")
    monkeypatch.setattr(check.ort, "__version__", "1.29.1")
    with pytest.raises(
        SystemExit, match=r"ONNX Runtime 1\.29\.1 ends the process .* install onnxruntime 1\.30 or newer"
    ):
        check.session(b"", 1, {}, "1.30")
    with pytest.raises(SystemExit, match="does not take the file"):
        check.session(b"", 1, {}, None)
