"""The folded integer model executed in exact int8 arithmetic by `torch._int_mm`, on a GPU or the CPU.

A convolution is unfolded into patches and becomes one int8 x int8 -> int32 product a group; a linear layer is one
already. What the GPU's integer units compute can so be held against the oracle, which adds in float64, code by code,
without an engine. The float parts (rescaling, LayerNorm, softmax) are torch's on the same device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# What torch._int_mm takes on CUDA: more than 16 rows, inner and outer sizes that 8 divides.
_ROWS, _MULTIPLE = 32, 8


def integer_product(codes: Tensor, weight: Tensor) -> Tensor:
    """codes [M, K] times weight [C, K] transposed, both int8 -> int32 [M, C], exact; padded as the kernel asks."""
    rows, inner, outer = codes.shape[0], codes.shape[1], weight.shape[0]
    more_inner, more_outer = -inner % _MULTIPLE, -outer % _MULTIPLE
    codes = F.pad(codes, (0, more_inner, 0, max(0, _ROWS - rows)))
    weight = F.pad(weight, (0, more_inner, 0, more_outer))
    product: Tensor = torch._int_mm(codes.contiguous(), weight.t().contiguous())
    return product[:rows, :outer]


def integer_conv2d(codes: Tensor, weight: Tensor, geometry: dict[str, Any]) -> Tensor:
    """codes [B, Cin, H, W] (integers in -256..255) with weight int8 [C, Cin/groups, kh, kw] -> int32 [B, C, H', W']."""
    batch, _, height, width = codes.shape
    groups, size = geometry["groups"], weight.shape[2:]
    settings = {key: tuple(geometry[key]) for key in ("dilation", "padding", "stride")}
    patches = F.unfold(codes.float(), tuple(size), **settings)  # integers below 2^24: exact
    count = patches.shape[-1]
    rows = patches.transpose(1, 2).reshape(batch * count, groups, -1)
    parts = [_centred_product(rows[:, group], part.flatten(1)) for group, part in enumerate(weight.chunk(groups))]
    sums = torch.cat(parts, 1).reshape(batch, count, -1).transpose(1, 2)
    out = [
        (full + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for full, pad, gap, kernel, step in zip(
            (height, width), geometry["padding"], geometry["dilation"], size, geometry["stride"], strict=True
        )
    ]
    return sums.reshape(batch, -1, *out)


def _centred_product(codes: Tensor, weight: Tensor) -> Tensor:
    """Codes beyond int8 (unsigned 8 bits, or less a zero-point) go in two products that each fit."""
    low = codes.clamp(-128, 127)
    sums = integer_product(low.to(torch.int8), weight)
    rest = codes - low
    if bool(rest.any()):
        half = rest.clamp(-128, 127)
        sums = sums + integer_product(half.to(torch.int8), weight)
        last = rest - half
        if bool(last.any()):
            sums = sums + integer_product(last.to(torch.int8), weight)
    return sums


@contextmanager
def in_int8(integer_model: nn.Module) -> Iterator[nn.Module]:
    """Let every layer of a folded model compute with `torch._int_mm` while the context lasts."""
    layers = [part for part in integer_model.modules() if hasattr(part, "weight_codes")]
    for part in layers:
        part.forward = _forward_of(part)
    try:
        yield integer_model
    finally:
        for part in layers:
            del part.forward


def _forward_of(part: Any) -> Callable[[Tensor, Tensor], Tensor]:
    def forward(x: Tensor, input_scale: Tensor) -> Tensor:
        codes = torch.round(x / input_scale)
        shape: tuple[int, ...] = (1, -1, 1, 1) if part.op == "conv2d" else (-1,)
        if part.op == "conv2d":
            sums = integer_conv2d(codes, part.weight_codes, part.geometry)
        else:
            flat = _centred_product(codes.reshape(-1, codes.shape[-1]), part.weight_codes)
            sums = flat.reshape(*codes.shape[:-1], -1)
        step: Tensor = (input_scale * part.weight_scale).view(shape)
        bias: Tensor = part.bias.view(shape)
        if bias.dtype == torch.int32:
            return (sums.long() + bias).float() * step  # int64: sum and bias together may pass int32
        return sums.float() * step + bias

    return forward


def compare_on(device: str, integer_model: nn.Module, images: Tensor) -> tuple[int, int]:
    """Codes that differ between int8 arithmetic on `device` and the oracle on the CPU, and how many there are.

    integer_model: as `export.fold` gives it, on the CPU, where it is again afterwards. images: float32 [B, C, H, W].
    """
    from genq_export.network.hooks import record_codes

    _, expected = record_codes(integer_model, images)
    with in_int8(integer_model.to(device)) as model:
        _, found = record_codes(model, images.to(device))
    integer_model.to("cpu")
    differing = sum(int((found[name].cpu() != codes).sum()) for name, codes in expected.items())
    return differing, sum(codes.numel() for codes in expected.values())


def check(device: str = "cuda", network: str = "resnet50", side: int = 224) -> list[tuple[str, str, bool | None]]:
    """Rows (check, figure, passed) for `make gpu-check`: a folded network with random weights in int8 arithmetic.

    The last row, what TensorRT-RTX says of its engine on this GPU, passes nothing: SM90 is not among its targets.
    """
    import tempfile
    from pathlib import Path

    import timm

    from export.engine import build_engine
    from export.fold import fold
    from export.onnx_qdq import export_onnx
    from genq_export.config.build import BuildConfig
    from genq_export.quantization.prepare import calibrate_ranges, prepare
    from genq_export.runtimes.tensorrt_packages import engine_builder
    from genq_export.targets.tensorrt import TENSORRT

    torch.manual_seed(0)
    size = (3, side, side)
    module, images = timm.create_model(network).eval(), torch.randn(2, *size)
    rows: list[tuple[str, str, bool | None]] = []
    for bits in (4, 8):
        settings = BuildConfig.for_model(network, bits=bits, target="tensorrt").quantize
        reference, _ = prepare(module, size, settings, TENSORRT.rule)
        calibrate_ranges(reference, [images])
        folded = fold(reference)
        differing, total = compare_on(device, folded, images)
        figure = f"{differing} of {total:,} codes differ"
        rows.append((f"{network} W{bits}A{bits} in int8 on {device}", figure, differing == 0))
    if engine_builder() == "tensorrt_rtx":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(folded, size, TENSORRT.rule, path, int4_storage=True)
            said = engine_validity(build_engine(path, size, "tensorrt_rtx").plan)
        rows.append((f"TensorRT-RTX engine of {network}, validity here", said, None))
    return rows


def engine_validity(plan: bytes) -> str:
    """What TensorRT-RTX says of an engine on this machine: `VALID`, `SUBOPTIMAL`, or `INVALID` with the reasons."""
    import tensorrt_rtx as trt

    validity, diagnostics = trt.Runtime(trt.Logger(trt.Logger.ERROR)).get_engine_validity(plan)
    reasons = [
        name for name, flag in trt.EngineInvalidityDiagnostics.__members__.items() if int(diagnostics) & int(flag)
    ]
    return str(validity.name) + (f" ({', '.join(reasons)})" if reasons else "")
