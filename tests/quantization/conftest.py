"""Small networks, captured and quantized once a session: tracing is what costs time here."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.placement import Placement
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from tests.networks import SIZE, AttentionBlock, GatedNet, ResidualNet, noise, randomise_norms

torch.set_num_threads(1)

Prepared = Callable[..., tuple[GraphNetwork, Placement]]


NETWORKS: dict[str, type[nn.Module]] = {"residual": ResidualNet, "gated": GatedNet, "attention": AttentionBlock}


def _network(name: str) -> nn.Module:
    torch.manual_seed(len(name))
    return randomise_norms(NETWORKS[name]()).eval().requires_grad_(False)


@pytest.fixture
def network() -> Callable[[str], nn.Module]:
    """A fresh float network by name, the same weights every time."""
    return _network


@pytest.fixture
def images() -> Tensor:
    """Noise, float32 [16, 3, 16, 16]."""
    return noise()


def _settings(bits: int = 4, **changes: Any) -> QuantizeConfig:
    values = {"weight_bits": bits, "activation_bits": bits, "batch_size": 8} | changes
    values["reconstruction"] = {"iterations": 8} | changes.get("reconstruction", {})
    return QuantizeConfig.model_validate(values)


@pytest.fixture
def settings() -> Callable[..., QuantizeConfig]:
    """A quantization config; keyword arguments change it."""
    return _settings


@cache
def _prepared(name: str, target: str, bits: int) -> tuple[GraphNetwork, Placement]:
    gm, placement = prepare(_network(name), SIZE, _settings(bits), rule_for(target))  # type: ignore[arg-type]
    calibrate_ranges(gm, [noise()])
    return gm, placement


@pytest.fixture
def prepared() -> Prepared:
    """A quantized graph with searched ranges, to change at will, and its placement."""

    def make(name: str, target: str = "onnxruntime", bits: int = 4) -> tuple[GraphNetwork, Placement]:
        gm, placement = _prepared(name, target, bits)
        return copy.deepcopy(gm), placement

    return make
