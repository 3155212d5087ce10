"""Small networks, quantized, folded and exported once a session: the exporter is what costs time here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import Target
from genq_export.config.quantize import QuantizeConfig
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from tests.networks import SIZE, BareAttention, PlainNet, ShiftNet, SiluNet, WideResidualNet, noise

torch.set_num_threads(1)

NETWORKS: dict[str, type[nn.Module]] = {
    "residual": WideResidualNet, "plain": PlainNet, "gated": SiluNet, "attention": BareAttention, "shift": ShiftNet
}  # fmt: skip
Reference = Callable[..., GraphNetwork]


@pytest.fixture
def images() -> Tensor:
    """Noise, float32 [16, 3, 16, 16]."""
    return noise()


@cache
def _reference(name: str, target: Target, bits: int, seed: int) -> GraphNetwork:
    torch.manual_seed(seed)
    module = NETWORKS[name]().eval().requires_grad_(False)
    ends = bits if name == "plain" else 8
    config = QuantizeConfig(weight_bits=bits, activation_bits=bits, first_last_bits=ends)  # type: ignore[call-arg]
    gm, _ = prepare(module, SIZE, config, rule_for(target))
    calibrate_ranges(gm, [torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(seed + 1))])
    return gm


@pytest.fixture
def reference() -> Reference:
    """A reference with searched ranges; not to be changed."""

    def make(name: str, target: Target = "onnxruntime", bits: int = 4, seed: int = 0) -> GraphNetwork:
        return _reference(name, target, bits, seed)

    return make


@dataclass(frozen=True)
class Exported:
    """An integer model, its ONNX file, and what the exporter said of it."""

    integer_model: GraphNetwork
    path: Path
    facts: dict[str, Any]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Export a network for a target; once for the same arguments."""

    @cache
    def make(name: str, target: Target = "onnxruntime", bits: int = 4, int4_storage: bool = True) -> Exported:
        path = tmp_path_factory.mktemp("exported") / "model.onnx"
        integer_model = fold(_reference(name, target, bits, 0))
        return Exported(integer_model, path, export_onnx(integer_model, SIZE, rule_for(target), path, int4_storage))

    return make
