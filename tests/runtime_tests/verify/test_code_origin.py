"""A rounding tie that spreads through a deep network is no fault; a layer that computes something else is."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genq_export.config.verify import GatesConfig
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.hooks import record_codes
from genq_export.network.onnx_graph import QuantizerNode
from genq_export.runtimes.base import Batch, Codes, Outputs
from genq_export.runtimes.torch_modules import TorchBackend
from runtime_tests.verify import gates
from runtime_tests.verify.code_comparison import CodeComparison
from runtime_tests.verify.code_origin import origins
from runtime_tests.verify.results import BackendFidelity, OutputDistance
from tests.runtime_tests.measured import grids, run

BLOCKS, WIDTH, IMAGES = 12, 64, 16
NAMES = [f"blocks.{number}" for number in range(BLOCKS)]
NODES = [
    QuantizerNode(name, f"{name}/codes", "uint8", (before,) if before else (), (), ())
    for name, before in zip(NAMES, ["", *NAMES], strict=False)
]


class Deep(nn.Module):
    """Block upon block, each of which mixes all numbers of an image and makes a small difference a large one."""

    def __init__(self, gain: float = 1.5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.quantizers = nn.ModuleList(ActivationQuantizer(name, 8, signed=True) for name in NAMES)
        self.weights = [gain * torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in NAMES]
        for part in self.quantizers:
            part.scale.fill_(1 / 32)  # type: ignore[operator, union-attr]

    def forward(self, x: Tensor) -> Tensor:
        for weight, quantizer in zip(self.weights, self.quantizers, strict=True):
            x = quantizer(torch.tanh(x) @ weight)
        return x


def backend(module: Deep) -> TorchBackend:
    return TorchBackend("oracle", "oracle", module.eval(), record_codes)


def images(reference: Deep, at_a_tie: int | None) -> Batch:
    """In one image one number of the first block lies a hair above or below the border of two codes."""
    x = torch.randn(IMAGES, WIDTH, generator=torch.Generator().manual_seed(1)).tanh()
    if at_a_tie is not None:
        made = x @ reference.weights[0]
        step = reference.quantizers[0].scale
        wanted = made[:, 3].div(step).floor().add(0.5 - 2e-5) * step  # type: ignore[operator]
        x = x + (wanted - made[:, 3])[:, None] * reference.weights[0][:, 3] / reference.weights[0][:, 3].square().sum()
    return torch.atanh(x.clamp(-0.999, 0.999)).numpy()


class Elsewhere(Deep):
    """The same, as a runtime computes it: sums of the first block come out a hair larger."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.quantizers[0](torch.tanh(x) @ self.weights[0] + 1e-6)
        for weight, quantizer in list(zip(self.weights, self.quantizers, strict=True))[1:]:
            x = quantizer(torch.tanh(x) @ weight)
        return x


def compared(reference: Deep, runtime: Deep, batch: Batch) -> BackendFidelity:
    truth = backend(reference)
    comparison = CodeComparison("onnxruntime", "oracle", NODES)
    found: tuple[Outputs, Codes] = backend(runtime).codes(batch)
    comparison.add(truth.codes(batch), found)
    comparison.add_origins(origins(truth, batch, comparison.unshifted(found[1])))
    return comparison.result()


def failed(found: BackendFidelity, quantized: float = 1.0) -> dict[str, str]:
    """Of the gates of a network that is so many dB from float by quantizing."""
    distances = tuple(
        OutputDistance(backend=name, images="held-out", n=IMAGES, sqnr_db=quantized, cosine=0.9, agreement=1.0)
        for name in ("reference", "onnxruntime")
    )
    judged, _ = gates.check(run(fidelity=(found,), from_float=distances), (), GatesConfig(), grids(4))
    return {gate.name: gate.message for gate in judged if not gate.passed}


def test_ties_that_spread_are_no_fault_of_any_layer() -> None:
    reference, runtime = Deep(), Elsewhere()
    found = compared(reference, runtime, images(reference, at_a_tie=3))
    assert 0 < found.quantizers[0].differing == found.at_origin
    assert found.match < 0.9, "a share of all codes would have failed this file"
    assert found.unexplained == 0 and "code_match" not in failed(found) and "layer_codes" not in failed(found)


@pytest.mark.parametrize("at", [0, 7, BLOCKS - 1])
def test_another_scale_is_blamed_on_its_layer_behind_ties_or_not(at: int) -> None:
    reference, runtime = Deep(), Elsewhere()
    runtime.quantizers[at].scale.mul_(1.02)  # type: ignore[operator, union-attr]
    found = compared(reference, runtime, images(reference, at_a_tie=3))
    messages = failed(found)
    assert messages.keys() >= {"code_match", "layer_codes"}
    assert found.first_diverging == NAMES[at]
    assert f"other codes are made by {NAMES[at]} (" in messages["layer_codes"]
    suspects = [item.name for item in found.quantizers if item.unexplained]
    assert suspects == NAMES[at : at + 2], "the next one is given codes that mean something else to the runtime"


def test_a_network_whose_ties_move_its_outputs_more_than_quantizing_does_is_none_to_ship() -> None:
    reference, runtime = Deep(gain=4), Elsewhere(gain=4)
    found = compared(reference, runtime, images(reference, at_a_tie=3))
    assert found.outputs_sqnr_db is not None and found.unexplained == 0
    assert failed(found, quantized=found.outputs_sqnr_db + 1).keys() == {"outputs"}
    assert failed(found, quantized=found.outputs_sqnr_db - 1) == {}
    untouched = compared(reference, runtime, images(reference, at_a_tie=None))
    assert untouched.differing == 0 and failed(untouched, quantized=60.0) == {}


def test_codes_that_are_no_neighbours_are_no_tie() -> None:
    reference = Deep()
    truth, batch = backend(reference), images(reference, at_a_tie=3)
    _, codes = truth.codes(batch)
    other = {name: part + 2 if name == NAMES[4] else part for name, part in codes.items()}
    found = origins(truth, batch, other)
    assert (found[NAMES[4]].differing, found[NAMES[4]].ties) == (IMAGES * WIDTH, 0)
    assert found[NAMES[3]].differing == 0
    assert np.array_equal(codes[NAMES[4]], truth.codes(batch)[1][NAMES[4]])
