"""How every output channel of a quantized layer answers to the float one, on images.

GPTQ and learned rounding aim at outputs and not at weights: where the inputs of a layer span few directions, codes go
their own ways in all others, and the weight no longer tells what a channel is. Its output does. A channel's output y_q
on codes is held against

    a  the float weight's on the same input, which is free of what came before,
    b  the float network's, which learning aims at,

over all positions of a few images: correlation and slope cov(y_q, y) / var(y). The better of the two counts. [ours]
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from genq_export.network.fake_quant import QuantizedLayer
from genq_export.network.hooks import set_quantization
from genq_export.runtimes.base import Batch

_POSITIONS = 64  # of an image that are looked at
_ELEMENTS = 2_000_000  # numbers of the images that are
CLEAR = 0.95  # correlation: noise hides nothing
_FAINT = 1e-6  # of the layer's largest variance: a channel that hardly moves says nothing


@dataclass(frozen=True)
class Response:
    """Of one layer.

    likeness: float64 [C], the larger correlation, -1 where float does not move. slope: the larger of the medians over
    the channels that move clearly as float's do; None where none does.
    """

    likeness: Tensor
    slope: float | None


def responses(reference: nn.Module, batches: Iterable[Batch]) -> dict[str, Response]:
    """Run a few images through the reference with its quantizers off and on.

    Args:
        reference: In eval mode.
        batches: float32 [B, C, H, W] each; only the first few images are taken.

    Returns:
        By name of the layer.
    """
    sums: dict[str, _Sums] = {}
    for images in _few(batches):
        expected = {part.name: rows for part, _, rows in _run(reference, images, quantized=False)}
        for part, same_input, rows in _run(reference, images, quantized=True):
            assert same_input is not None
            sums.setdefault(part.name, _Sums()).add(rows, same_input, expected[part.name])
    return {name: total.response() for name, total in sums.items()}


@dataclass
class _Moments:
    """Sums over positions of q, the quantized output, and f, a float one; float64 [C]."""

    count: int = 0
    sums: list[Tensor] = field(default_factory=list)  # of q, f, q q, f f, q f

    def add(self, q: Tensor, f: Tensor) -> None:
        """q, f: float64 [N, C]."""
        new = [part.sum(0) for part in (q, f, q * q, f * f, q * f)]
        self.sums = [old + more for old, more in zip(self.sums, new, strict=True)] if self.sums else new
        self.count += len(q)

    def variances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of q, of f, and their covariance; what float64 cannot tell from zero is zero."""
        q, f, qq, ff, qf = (part / self.count for part in self.sums)
        least = torch.finfo(torch.float64).eps * 64
        var_q, var_f = ((square - mean * mean) * (square - mean * mean > least * square) for square, mean in
                        ((qq, q), (ff, f)))  # fmt: skip
        return var_q, var_f, qf - q * f


@dataclass
class _Sums:
    """Of one layer, against both."""

    same_input: _Moments = field(default_factory=_Moments)
    own_input: _Moments = field(default_factory=_Moments)

    def add(self, q: Tensor, same_input: Tensor, own_input: Tensor) -> None:
        """Outputs [N, C]."""
        self.same_input.add(q.double(), same_input.double())
        self.own_input.add(q.double(), own_input.double())

    def response(self) -> Response:
        """The better of both."""
        likeness, slopes = [], []
        for moments in (self.same_input, self.own_input):
            var_q, var_f, covariance = moments.variances()
            moving = var_f > _FAINT * var_f.max()
            correlation = torch.where(var_q > 0, covariance / (var_q * var_f).sqrt(), 0)
            likeness.append(torch.where(moving, correlation, -1))
            clear = moving & (correlation > CLEAR)
            if clear.any():
                slopes.append(float((covariance / var_f)[clear].median()))
        return Response(torch.maximum(*likeness), max(slopes, default=None))


def _few(batches: Iterable[Batch]) -> Iterator[Tensor]:
    """As many images as are looked at."""
    left = _ELEMENTS
    for batch in batches:
        images = torch.from_numpy(batch)[: max(1, left // batch[0].size)]
        yield images
        left -= images.numel()
        if left <= 0:
            return


def _run(reference: nn.Module, images: Tensor, quantized: bool) -> list[tuple[QuantizedLayer, Tensor | None, Tensor]]:
    """Every layer, what its float weight makes of its input where that is quantized, and its output; [N, C] each."""
    seen: list[tuple[QuantizedLayer, Tensor | None, Tensor]] = []

    def keep(part: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not part.enabled and quantized:
            return  # its own call below
        same_input = None
        if quantized:
            part.enabled = False
            same_input = _rows(part, part(*inputs))
            part.enabled = True
        seen.append((part, same_input, _rows(part, output)))

    set_quantization(reference, quantized)
    try:
        with _hooked(reference, keep), torch.no_grad():
            reference(images)
    finally:
        set_quantization(reference, True)
    return seen


@contextmanager
def _hooked(reference: nn.Module, keep: Any) -> Iterator[None]:
    handles = [part.register_forward_hook(keep) for part in reference.modules() if isinstance(part, QuantizedLayer)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(part: QuantizedLayer, output: Tensor) -> Tensor:
    """Some positions of every image, [N, C]."""
    if part.op == "conv2d":
        positions = output.flatten(2).transpose(1, 2)
    else:
        positions = output.reshape(len(output), -1, output.shape[-1])
    chosen = torch.linspace(0, positions.shape[1] - 1, min(_POSITIONS, positions.shape[1])).round().long()
    return positions[:, chosen].flatten(0, 1)
