"""`--device auto`: decided once, recorded, and nothing that a fingerprint sees."""

from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.devices import chosen_device
from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from genq_export.pipeline.build import on_device
from genq_export.pipeline.fingerprint import stage_fingerprint
from genq_export.pipeline.stages import find_stage


def config(**options: object) -> BuildConfig:
    return BuildConfig.for_model("fashion_resnet", **options)


def made_on(folder: Path, device: str) -> Path:
    Workspace.open(folder).write_config(config(device=device).to_yaml().encode())
    return folder


def test_auto_is_the_default_and_stands_for_what_is_here(tmp_path: Path) -> None:
    import torch

    here = "cuda" if torch.cuda.is_available() else "cpu"
    assert config().device == "auto" and chosen_device("auto") == here
    assert on_device(config(), tmp_path / "new").device == here
    assert on_device(config(device="cuda:3"), tmp_path / "new").device == "cuda:3"


def test_auto_leaves_no_trace_in_a_fingerprint(tmp_path: Path) -> None:
    stage, workspace = find_stage("calibrate"), Workspace(tmp_path)
    auto = stage_fingerprint(stage, workspace, on_device(config(), tmp_path))
    assert auto == stage_fingerprint(stage, workspace, config(device=chosen_device("auto")))


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_folder_stays_on_the_device_that_it_was_made_on(device: str, tmp_path: Path) -> None:
    assert on_device(config(), made_on(tmp_path / "made", device)).device == chosen_device(device)


def test_a_folder_of_another_device_is_not_made_anew_unasked(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a machine without GPU is meant")
    folder = made_on(tmp_path / "made", "cuda")
    with pytest.raises(UserError, match=r"was made on cuda, which is not here: --device cpu makes it anew.* verify"):
        on_device(config(), folder)
    assert on_device(config(device="cpu"), folder).device == "cpu"
