"""Learned quantization with drop, and learned rounding, in one pass forward and one back.

Written with autograd's own operators, a quantizer with drop reads and writes the activation some twenty times, and on
a CPU costs more than the convolution behind it. Here the tensor is worked on in pieces that stay in the cache, the
backward pass recomputes what the forward pass had, and random masks are drawn as bytes. Gradients of learned rounding
are written out for the same reason: a late layer has more weights than its input has numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genq_export.quantization.activation_cache import Part

GAMMA, ZETA = -0.1, 1.1  # ends of AdaRound's stretched sigmoid
_TINY = 1e-30
_MIXED = 2**18  # numbers that are mixed at once, of whole tensors
_PIECE = 2**15  # numbers a thread works on at once; a handful of such pieces fit in a core's second-level cache


def drop_mask(count: int, drop: float, generator: torch.Generator) -> Tensor:
    """Bool [count], True with probability `drop` (to 1/256): eight decisions from every 64-bit random number."""
    return drop_masks(1, count, drop, generator)[0]


def drop_masks(rows: int, count: int, drop: float, generator: torch.Generator) -> Tensor:
    """Bool [rows, count], the masks that `drop_mask` would draw one after the other."""
    threshold = round(drop * 256)
    if threshold > 255:
        return torch.ones((rows, count), dtype=torch.bool, device=generator.device)
    words = torch.empty((rows, -(-count // 8)), dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    if words.device.type == "cpu":  # numpy compares bytes several times faster than torch does
        return torch.from_numpy(words.numpy().view(np.uint8)[:, :count] < threshold)
    return words.view(torch.uint8)[:, :count] < threshold


def mix(first: Sequence[Tensor], second: Sequence[Tensor], drop: float, generator: torch.Generator) -> Tensor:
    """Tensors of one shape as a batch, each element taken from `second` instead with probability `drop`.

    Small ones are worked on together: for a window of a map a call takes longer than its arithmetic.
    """
    if drop == 0:
        return torch.stack(list(first))
    each = first[0].numel()
    together = max(1, _MIXED // max(each, 1))
    mixed = first[0].new_empty((len(first), *first[0].shape))
    for start in range(0, len(first), together):
        part = slice(start, start + together)
        target = mixed[part]
        share = _as_numbers(drop_masks(len(target), each, drop, generator), target).view_as(target)
        torch.lerp(_stacked(first[part]), _stacked(second[part]), share, out=target)
    return mixed


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """As a batch; one tensor is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


def quantize_with_drop(x: Tensor, scale: Tensor, low: int, high: int, dropped: Tensor | None) -> Tensor:
    """clip(round(x / scale), low, high) * scale, and x itself where `dropped`; with the gradients of LSQ.

    d/dx is 1 inside the range and where dropped, 0 outside; d/dscale is round(x/s) - x/s inside the range, low or high
    outside, 0 where dropped (arXiv 1902.08153, eq. 3).

    Args:
        x: float32 or bfloat16, any shape; what comes of it has the same type, and is computed in float32.
        scale: float32 scalar.
        low: least code minus zero-point.
        high: largest code minus zero-point.
        dropped: bool, flat, as many as x has numbers; None: nothing is.
    """
    result: Tensor = _QuantizeWithDrop.apply(x, scale, low, high, dropped)  # type: ignore[no-untyped-call]
    return result


def squared_error(
    found: Tensor, target: Sequence[Tensor], parts: Sequence[Part], weights: Sequence[Tensor] | None = None
) -> Tensor:
    """Sum of w (part(found) - target)^2 over a batch, scalar; can be differentiated once, with respect to `found`.

    Args:
        found: [B, ...]
        target: B tensors.
        parts: for each of the batch, what takes the part that is compared, as a view.
        weights: B tensors of the targets' shapes; None: 1 everywhere.
    """
    result: Tensor = _SquaredError.apply(found, target, parts, weights)  # type: ignore[no-untyped-call]
    return result


def soft_rounded(v: Tensor, base: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """scale * clip(base + h(v), low, high), h(v) = clip(sigmoid(v) * (zeta - gamma) + gamma, 0, 1) (AdaRound, eq. 22).

    v, base: float32 [C, ...]; scale: broadcasts against them, one number a channel. Differentiable in v and scale.
    """
    result: Tensor = _SoftRounded.apply(v, base, scale, low, high)  # type: ignore[no-untyped-call]
    return result


def rounding_regulariser(v: Tensor, beta: float) -> Tensor:
    """sum(1 - |2 h(v) - 1|^beta), scalar (AdaRound, eq. 24). Differentiable in v."""
    result: Tensor = _RoundingRegulariser.apply(v, beta)  # type: ignore[no-untyped-call]
    return result


def _stretched(v: Tensor) -> tuple[Tensor, Tensor]:
    """h(v) and its derivative, zero where it is clipped."""
    sigmoid = torch.sigmoid(v)
    h = sigmoid * (ZETA - GAMMA) + GAMMA
    slope = torch.sub(1, sigmoid).mul_(sigmoid).mul_(ZETA - GAMMA)
    clipped = h.clamp(0, 1)
    slope.mul_(torch.eq(h, clipped, out=sigmoid))
    return clipped, slope


class _SoftRounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, base: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        h, slope = _stretched(v)
        codes = h.add_(base)
        clipped = codes.clamp(low, high)
        slope.mul_(torch.eq(codes, clipped, out=codes))
        ctx.save_for_backward(clipped, slope, scale)
        return clipped * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        clipped, slope, scale = ctx.saved_tensors
        grad_scale = torch.mul(gradients[0], clipped).flatten(1).sum(1).view_as(scale)
        return torch.mul(gradients[0], scale).mul_(slope), None, grad_scale, None, None


class _RoundingRegulariser(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, beta: float) -> Tensor:
        h, slope = _stretched(v)
        signed = h.mul_(2).sub_(1)
        power = signed.abs().clamp_min_(_TINY).log_().mul_(beta).exp_()
        total = v.numel() - power.sum()
        # d |x|^beta / dx = beta |x|^beta / x, and x = 2h - 1
        ctx.gradient = power.div_(signed.add_(_TINY)).mul_(slope).mul_(-2 * beta)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(gradients[0]), None


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, found: Tensor, target: Sequence[Tensor], parts: Sequence[Part], weights: Sequence[Tensor] | None
    ) -> Tensor:
        slope = torch.zeros_like(found)
        for one, into, wanted, part in zip(found, slope, target, parts, strict=True):
            torch.sub(part(one), wanted, out=part(into))
        if weights is None:
            total: Tensor = torch.linalg.vector_norm(slope).square()
        else:
            unweighted = slope.clone()
            for into, weight, part in zip(slope, weights, parts, strict=True):
                part(into).mul_(weight)
            total = unweighted.mul_(slope).sum(dtype=torch.float64)
        ctx.slope = slope
        return total.to(found.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        slope, ctx.slope = ctx.slope, None
        return slope.mul_(2 * gradients[0]), None, None, None


class _QuantizeWithDrop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int, dropped: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, scale, *([] if dropped is None else [dropped]))
        ctx.limits = low, high
        out = torch.empty_like(x)
        for piece, target, skipped in _pieces(x, out, dropped):
            source = piece.float()  # itself, but for bfloat16
            found = torch.div(source, scale, out=target if target.dtype == source.dtype else None)
            found.round_().clamp_(low, high).mul_(scale)
            if skipped is not None:
                torch.lerp(found, source, _as_numbers(skipped, source), out=found)
            if found is not target:
                target.copy_(found)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, scale, *rest = ctx.saved_tensors
        low, high = ctx.limits
        gradient = gradients[0].contiguous()
        grad_x = torch.empty_like(x)
        grad_scale = torch.zeros((), dtype=torch.float64, device=x.device)
        dropped = rest[0] if rest else None
        work = torch.empty((5, min(_piece_of(x), x.numel())), device=x.device)
        for (piece, given, skipped), (_, target, _) in zip(
            _pieces(x, gradient, dropped), _pieces(x, grad_x, dropped), strict=True
        ):
            source, given = piece.float(), given.float()
            ratio, codes, slope, inside, passed = work[:, : len(source)]
            torch.div(source, scale, out=ratio)
            torch.round(ratio, out=codes)
            torch.clamp(codes, low, high, out=slope)
            torch.eq(codes, slope, out=inside)
            slope.addcmul_(ratio, inside, value=-1)
            if skipped is not None:
                passed.copy_(skipped.view(torch.uint8))
                slope.addcmul_(slope, passed, value=-1)
                torch.maximum(inside, passed, out=inside)
            grad_scale += torch.dot(given, slope)
            target.copy_(inside.mul_(given))
        return grad_x, grad_scale.to(scale.dtype), None, None, None


def _as_numbers(mask: Tensor, like: Tensor) -> Tensor:
    """0 and 1 in the type of `like`; read as bytes, which torch converts several times faster than bool."""
    return mask.view(torch.uint8).to(like.device, like.dtype)


def _piece_of(x: Tensor) -> int:
    """Numbers in a piece of x: what every thread works on at once; all of them on an accelerator."""
    return _PIECE * torch.get_num_threads() if x.device.type == "cpu" else max(x.numel(), 1)


def _pieces(a: Tensor, b: Tensor, mask: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Views of two contiguous tensors and of a flat mask, piece by piece; one piece on an accelerator."""
    size = _piece_of(a)
    flat_a, flat_b = a.view(-1), b.view(-1)
    for start in range(0, a.numel(), size):
        part = slice(start, start + size)
        yield flat_a[part], flat_b[part], None if mask is None else mask[part]
