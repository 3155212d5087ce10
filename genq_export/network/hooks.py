"""What is asked of every quantizer of a network at once."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from genq_export.network import grid
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer, QuantizedMatMul
from genq_export.network.integer import IntegerQuantizer
from genq_export.network.outputs import Answer


def device_of(module: nn.Module) -> torch.device:
    """Where a graph, or a block of one, computes; a prepared one has buffers alone."""
    return next(chain(module.buffers(), module.parameters())).device


def set_quantization(module: nn.Module, enabled: bool) -> None:
    """Turn every quantizer and quantized layer on, or off (then the graph computes in float32)."""
    for part in module.modules():
        if isinstance(part, ActivationQuantizer | QuantizedLayer | QuantizedMatMul):
            part.enabled = enabled


def record_codes(module: nn.Module, x: Tensor) -> tuple[Answer, dict[str, Tensor]]:
    """Run `module` on x [B, C, H, W]; returns its answer and every activation quantizer's codes (int32) by name.

    Works on the reference and on the integer model alike: both name their quantizers the same.
    """
    codes: dict[str, Tensor] = {}

    def keep(part: Any, _inputs: object, output: Tensor) -> None:
        codes[part.name] = grid.centered_codes(output, part.scale).to(torch.int32) + int(part.zero_point)

    parts = [part for part in module.modules() if isinstance(part, ActivationQuantizer | IntegerQuantizer)]
    handles = [part.register_forward_hook(keep) for part in parts]
    try:
        with torch.no_grad():
            answer = module(x)
    finally:
        for handle in handles:
            handle.remove()
    return answer, codes


def hand_on(
    module: nn.Module, x: Tensor, given: Mapping[str, Tensor], see: Callable[[Any, Tensor, Tensor], None]
) -> None:
    """Run `module` on x [B, C, H, W] with quantizers handing on given codes in place of their own.

    So no quantizer inherits a difference: what it makes of its input is its own.

    Args:
        module: The reference or the integer model.
        x: Images.
        given: int32 codes by name; a quantizer that is not there hands on its own.
        see: Called with every quantizer that has given codes, its input and its own codes, int32.
    """

    def replace(part: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if part.name not in given:
            return output
        zero_point = int(part.zero_point)
        see(part, inputs[0], grid.centered_codes(output, part.scale).to(torch.int32) + zero_point)
        return grid.dequantize(given[part.name].float(), part.scale, zero_point)

    parts = [part for part in module.modules() if isinstance(part, ActivationQuantizer | IntegerQuantizer)]
    handles = [part.register_forward_hook(replace) for part in parts]
    try:
        with torch.no_grad():
            module(x)
    finally:
        for handle in handles:
            handle.remove()
