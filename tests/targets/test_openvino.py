"""A file for OpenVINO: what OpenVINO computes is what the oracle computes, however many images there are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from export.run import run as run_export
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.network.files import load_integer_model
from genq_export.network.hooks import hand_on, record_codes
from genq_export.network.outputs import LOGITS, by_name
from genq_export.quantization.run import run as run_quantize
from genq_export.runtimes.openvino import OPENVINO
from tests.targets.conftest import Photographs

pytest.importorskip("openvino")

QUIET = Progress(quiet=True)
ZOO = ("fashion_resnet", "fashion_mobilenet", "fashion_vit")


def built(folder: Path, photographs: Photographs, name: str, bits: int, target: str = "openvino") -> Workspace:
    config = BuildConfig.for_model(name, bits=bits, preset="quick", target=target)
    model, workspace = load_model(config.model), Workspace.open(folder / "build")
    run_quantize(workspace, config, model, photographs.files, folder / "partial", QUIET)
    result = run_export(workspace, config, model, QUIET, photographs.files)
    assert all(row["integer"] for row in result.summary["audit"]), "every layer computes in integers"
    return workspace


def images(model: LoadedModel, count: int) -> torch.Tensor:
    return model.normalize(torch.from_numpy(zoo.test_set()[0][:count]))


def share_of_codes(workspace: Workspace, batch: torch.Tensor) -> float:
    """Of codes that OpenVINO computes as the oracle does; every quantizer of the one is in the other."""
    _, expected = record_codes(load_integer_model(workspace.folder), batch)
    _, found = OPENVINO.open(workspace.path("model.onnx"), 1).codes(batch.numpy())
    assert found.keys() == expected.keys()
    equal = sum(int((found[name] == codes.numpy()).sum()) for name, codes in expected.items())
    return equal / sum(codes.numel() for codes in expected.values())


def share_of_own_differences(workspace: Workspace, batch: torch.Tensor) -> float:
    """Of codes that differ where every quantizer in front hands on OpenVINO's own."""
    _, found = OPENVINO.open(workspace.path("model.onnx"), 1).codes(batch.numpy())
    given = {name: torch.from_numpy(codes) for name, codes in found.items()}
    differing: list[int] = []

    def see(part: torch.nn.Module, _: torch.Tensor, codes: torch.Tensor) -> None:
        differing.append(int((codes != given[str(part.name)]).sum()))

    hand_on(load_integer_model(workspace.folder), batch, given, see)
    return sum(differing) / sum(codes.numel() for codes in given.values())


def logits(workspace: Workspace, batch: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """OpenVINO's as users run it, and the oracle's."""
    found = OPENVINO.open(workspace.path("model.onnx"), 1).outputs(batch.numpy())[LOGITS]
    return found, oracle(workspace, batch)


def oracle(workspace: Workspace, batch: torch.Tensor) -> np.ndarray:
    answer, _ = record_codes(load_integer_model(workspace.folder), batch)
    return by_name(answer)[LOGITS].numpy()


@pytest.mark.parametrize("name", ZOO)
def test_codes_of_four_bits_are_the_oracles_watched_and_as_users_run_the_file(
    tmp_path: Path, photographs: Photographs, name: str
) -> None:
    workspace = built(tmp_path, photographs, name, 4)
    batch = images(load_model(BuildConfig.for_model(name).model), 32)
    assert share_of_codes(workspace, batch) >= (1 if name != "fashion_vit" else 0.9999)
    found, expected = logits(workspace, batch)
    assert np.abs(found - expected).mean() <= 1e-4 * np.abs(expected).mean()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("fashion_resnet", 1), ("fashion_mobilenet", 1), ("fashion_vit", 0.99)])
def test_codes_of_eight_bits(tmp_path: Path, photographs: Photographs, name: str, least: float) -> None:
    workspace = built(tmp_path, photographs, name, 8)
    batch = images(load_model(BuildConfig.for_model(name).model), 64)
    assert share_of_codes(workspace, batch) >= least
    assert share_of_own_differences(workspace, batch) <= (1e-5 if least < 1 else 0), (
        "what ties move behind them is no fault"
    )
    found, expected = logits(workspace, batch)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.98
    if name != "fashion_vit":
        assert np.array_equal(found, expected)


def test_signed_grids_lie_in_int8_and_others_in_uint8(tmp_path: Path, photographs: Photographs) -> None:
    workspace = built(tmp_path, photographs, "fashion_vit", 8)
    model = onnx.load(workspace.path("model.onnx"))
    kinds = {entry.data_type for entry in model.graph.initializer if not entry.dims}
    assert {TensorProto.INT8, TensorProto.UINT8} <= kinds
    check = workspace.path("check", "check.py")
    subprocess.run([sys.executable, check, "--runs", "0"], check=True, capture_output=True)


def test_a_transformer_made_for_onnx_runtime_answers_right_for_any_number_of_images(
    tmp_path: Path, photographs: Photographs
) -> None:
    config = BuildConfig.for_model("fashion_vit", bits=8, preset="quick")
    model, workspace = load_model(config.model), Workspace.open(tmp_path / "build")
    run_quantize(workspace, config, model, photographs.files, tmp_path / "partial", QUIET)
    run_export(workspace, config, model, QUIET)
    session = OPENVINO.open(workspace.path("model.onnx"), 1)
    batch = images(model, 16)
    expected = oracle(workspace, batch)
    for count in (16, 1, 3):
        assert np.abs(session.outputs(batch[:count].numpy())[LOGITS] - expected[:count]).max() < 0.5


PROGRAM = """
import sys, numpy as np
from pathlib import Path
from genq_export.runtimes.openvino import OPENVINO
session = OPENVINO.open(Path(sys.argv[1]), 1)
np.save(sys.argv[3], session.outputs(np.load(sys.argv[2]))["logits"])
print(session.title)
"""


@pytest.mark.slow
def test_a_processor_without_vnni_computes_eight_bits_as_written(tmp_path: Path, photographs: Photographs) -> None:
    workspace = built(tmp_path, photographs, "fashion_resnet", 8)
    batch = images(load_model(BuildConfig.for_model("fashion_resnet").model), 16)
    np.save(tmp_path / "images.npy", batch.numpy())
    command = [sys.executable, "-c", PROGRAM, workspace.path("model.onnx")]
    command += [tmp_path / "images.npy", tmp_path / "logits.npy"]
    older = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(command, env=older, check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert "as written: 8-bit sums saturate on this processor" in done.stdout
    expected = oracle(workspace, batch)
    found = np.load(tmp_path / "logits.npy")
    assert np.abs(found - expected).max() < 0.2 and (found.argmax(1) == expected.argmax(1)).all()
