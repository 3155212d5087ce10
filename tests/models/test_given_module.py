"""A module that a Python program gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import genq_export
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.models.given_module import module_digest
from genq_export.models.source import load_model, problems
from genq_export.pipeline.build import read_config

QUICK = ["verify.latency_runs=10", "verify.latency_batches=[1]", "verify.fidelity_images=4"]


def network(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    )


def test_the_digest_follows_tensors_settings_and_code() -> None:
    def other(net: nn.Module) -> nn.Module:
        return net.eval()

    strided, moved, half = network(), network(), network().half()
    strided[0].stride = (2, 2)  # type: ignore[index]
    moved[1].running_mean += 1  # type: ignore[index,operator]
    relu = nn.Sequential(*(nn.SiLU() if isinstance(part, nn.ReLU) else part for part in network()))  # type: ignore[arg-type]
    assert module_digest(network()) == module_digest(other(network()))
    assert len({module_digest(one) for one in (network(), strided, moved, half, relu, network(5))}) == 6


@pytest.mark.slow
def test_a_build_of_a_module(tmp_path: Path) -> None:
    config = BuildConfig.for_model(
        "mine", input_size="3,16,16", mean="0.5", std="0.5", generator="leaves", preset="quick", bits=8, images=4,
        settings=QUICK,
    )  # fmt: skip
    report = genq_export.build(config, tmp_path / "build", module=network())
    assert report.model == "module:mine" and len(report.layers) == 2
    assert genq_export.load(tmp_path / "build")(np.zeros((2, 3, 16, 16), np.float32)).shape == (2, 4)
    stored = read_config(tmp_path / "build").model
    (problem,) = problems(stored)
    assert "genq_export.build(config, module=net)" in problem
    with pytest.raises(UserError, match="given by a Python program"):
        load_model(stored)


def test_weights_beside_a_module_are_refused(tmp_path: Path) -> None:
    config = BuildConfig.for_model("mine", weights=tmp_path / "w.pth", generator="leaves")
    with pytest.raises(UserError, match="leave `weights` out"):
        genq_export.build(config, tmp_path / "build", module=network())
    assert not (tmp_path / "build").exists()
