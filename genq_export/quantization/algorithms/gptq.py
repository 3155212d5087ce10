"""GPTQ: rounding whose errors compensate each other, in closed form; what a block has before it learns.

A layer sees x in the float network and x^ in the quantized one. Its float weights are W [R, K], its codes Q, its scales
s [R]; over images and positions H = cov(x^, x^), C = cov(x, x^); d and e are shares of the mean diagonal of H:

    W' = W (C + d I) (H + d I)^-1               least squares: the weights that fit best on x^, held near W
    Q  = columns of W' / s, rounded one by one; those that are left take up each one's error (GPTQ on H + e I)
    s  = of a few steps the one with the least error for each row, then fitted to the codes
    b' = b + W E[x] - s Q E[x^]                 the bias takes care of the means

(GPTQ, arXiv 2210.17323, section 3; that the target is the answer to the float input: GPTAQ, arXiv 2504.02692.) Means
and covariances are all that it takes from the images, so it generalises even from few. Where these are few against K
all the same, as in front of a classifier, W' would overfit; so d is cross-validated [ours]: of a few the one with which
weights regressed on either half of the images fit best on the other.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.config.quantize import QuantizeConfig
from genq_export.network.fake_quant import ActivationQuantizer, QuantizedLayer
from genq_export.network.grid import Grid
from genq_export.network.hooks import device_of, set_quantization
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationStore
from genq_export.quantization.blocks import Block
from genq_export.quantization.method import BlockImages, BlockMethod

_REGRESSION_DAMPINGS = (0.03, 0.3, 3.0, 30.0)  # of the mean variance of an input; the one to use is cross-validated
_ROUNDING_DAMPING = 0.03  # of the same
_LEAST = 1e-4  # of the mean square: the variance of a constant input is nothing but the rounding of float32
_SHARES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)  # of the scale that rounding to nearest likes best
_LAZY = 64  # columns that are rounded before their errors are passed on to all others
_BATCH = 8  # images that a block is run on at once, at most: every other batch is of the same half
_LEAST_SHARE = min(_ROUNDING_DAMPING, *_REGRESSION_DAMPINGS)
_RAISED = 6  # times by ten, at most, is a damping that leaves a covariance indefinite
_NUMBERS = 2**25  # in the windows that are looked at together, of one image at least
_POSITIONS = 64  # of a map that are looked at, at least: neighbours say much the same
_SAMPLES = 200  # windows for each number in one, at least, where the maps have so many


class Gptq(BlockMethod):
    """Codes, weight scales and biases of a block in closed form, for what comes from the blocks before it."""

    name = "gptq"

    def applies(self, graph: GraphNetwork, settings: QuantizeConfig) -> bool:
        """Below 8 bits, or where learning goes on from here.

        At 8 bits, moving biases does what this does, in no time.
        """
        return not settings.trains_from_rounded and (settings.uses("reconstruction") or is_coarse(graph))

    def apply(self, block: Block, images: BlockImages, settings: QuantizeConfig, seed: int) -> None:
        """Nothing is drawn: `seed` decides nothing here."""
        compensate(block, images.float_input, images.quantized_input)


GPTQ = Gptq()


def is_coarse(gm: GraphNetwork) -> bool:
    """Has a layer or an activation of a prepared graph fewer than 8 bits?"""
    return any(isinstance(part, QuantizedLayer | ActivationQuantizer) and part.grid.bits < 8 for part in gm.modules())


def compensate(block: Block, float_input: ActivationStore, quantized_input: ActivationStore) -> None:
    """Set codes, weight scales and biases of every layer of `block`, one after the other.

    The block runs once for each of its layers: what a layer is given depends on the codes of those before it.
    Activation scales stay as they are.

    Args:
        block: of a prepared graph, with ranges searched.
        float_input: what the block is given in the float network, [N, ...].
        quantized_input: what it is given in the quantized network, [N, ...].
    """
    for layer in block.layers():
        halves = [_Moments(layer), _Moments(layer)]
        for number, pair in enumerate(_inputs_of(layer, block, float_input, quantized_input)):
            one = windows(layer, pair[0][:1].to("meta"))  # its shape, without the numbers
            chosen = Chosen.among(one.shape[2], one.shape[1], len(float_input), number // 2)
            at_once = max(1, _NUMBERS * chosen.every**2 // one.numel())
            for x, x_hat in zip(*(part.split(at_once) for part in pair), strict=True):
                halves[number % 2].add(windows(layer, x, chosen), windows(layer, x_hat, chosen))
        _round(layer, halves)


@dataclass(frozen=True)
class Chosen:
    """Every so manieth position of a map along both axes, from the given ones on."""

    every: int = 1
    row: int = 0
    column: int = 0

    @classmethod
    def among(cls, positions: int, inputs: int, images: int, turn: int) -> "Chosen":
        """So many that covariances are as good as with all of them; others at each turn.

        Args:
            positions: of a map.
            inputs: K, numbers in a window.
            images: that show it.
            turn: 0, 1, 2, …
        """
        wanted = max(_POSITIONS, -(-_SAMPLES * inputs // images))
        every = max(1, math.isqrt(positions // wanted))
        return cls(every, turn % every, turn // every % every)


ALL = Chosen()


class _Moments:
    """Sums over images and positions, in float64: G groups of a convolution, K numbers in a window of one."""

    def __init__(self, layer: QuantizedLayer) -> None:
        groups, inputs = groups_of(layer), layer.weight[0].numel()
        empty = layer.weight.new_zeros((groups, inputs, inputs), dtype=torch.float64)
        self.products, self.crossed = empty, empty.clone()
        self.sum, self.sum_hat = empty[:, 0].clone(), empty[:, 0].clone()
        self.count = 0

    def add(self, x: Tensor, x_hat: Tensor) -> None:
        """Take in windows [G, K, n] of the float and of the quantized input."""
        self.products += (x_hat @ x_hat.mT).double()
        self.crossed += (x @ x_hat.mT).double()
        self.sum += x.sum(2, dtype=torch.float64)
        self.sum_hat += x_hat.sum(2, dtype=torch.float64)
        self.count += x.shape[2]

    def take_over(self, other: "_Moments") -> None:
        """Take in all that `other` took in."""
        self.products += other.products
        self.crossed += other.crossed
        self.sum += other.sum
        self.sum_hat += other.sum_hat
        self.count += other.count


@dataclass(frozen=True)
class Statistics:
    """Means [G, K] and covariances [G, K, K] of a layer's windows, float64.

    hessian: of the quantized input; cross: of the float with the quantized one. least: [G], the damping without which
    rounding of float32 would count.
    """

    mean: Tensor
    mean_hat: Tensor
    hessian: Tensor
    cross: Tensor
    least: Tensor

    def damping(self, share: float) -> Tensor:
        """[G], what goes on the diagonal of both covariances: `share` of the mean variance, or more where that is not
        enough to make the quantized input's positive definite."""
        return torch.maximum(share * _mean_diagonal(self.hessian), torch.maximum(self.least, self._needed))

    @cached_property
    def _needed(self) -> Tensor:
        """[G], damping that covariances need which float32 sums of a nearly constant input left indefinite; else 0.

        Looked for once, at the least share that is used: a factorisation costs as much as a regression does.
        """
        tried = torch.maximum(_LEAST_SHARE * _mean_diagonal(self.hessian), self.least)
        needed = torch.zeros_like(tried)
        for _ in range(_RAISED):
            indefinite = torch.linalg.cholesky_ex(damped(self.hessian, tried)).info > 0
            if not indefinite.any():
                break
            tried = torch.where(indefinite, 10 * tried, tried)
            needed = torch.where(indefinite, tried, needed)
        return needed


def _statistics(moments: _Moments) -> Statistics:
    mean, mean_hat = moments.sum / moments.count, moments.sum_hat / moments.count
    hessian = moments.products / moments.count
    least = (_LEAST * _mean_diagonal(hessian)).clamp_min(torch.finfo(torch.float32).tiny)
    hessian -= mean_hat[:, :, None] * mean_hat[:, None, :]
    cross = moments.crossed / moments.count - mean[:, :, None] * mean_hat[:, None, :]
    return Statistics(mean, mean_hat, hessian, cross, least)


def _round(layer: QuantizedLayer, halves: list[_Moments]) -> None:
    groups, inputs = groups_of(layer), layer.weight[0].numel()
    weight = layer.weight.double().view(groups, -1, inputs)
    share = validated_damping(weight, [_statistics(half) for half in halves if half.count])
    whole, other = halves
    whole.take_over(other)
    found = _statistics(whole)
    target = regressed(weight, found, share)
    hessian = damped(found.hessian, found.damping(_ROUNDING_DAMPING))
    codes, scale = best_codes(target, layer.weight_scale.double().view(groups, -1), hessian, layer.grid)
    quantized = codes * scale[:, :, None]
    shift = torch.einsum("grk,gk->gr", weight, found.mean) - torch.einsum("grk,gk->gr", quantized, found.mean_hat)
    layer.codes.copy_(codes.view_as(layer.codes).to(torch.int8))
    layer.weight_scale.copy_(scale.flatten())
    layer.bias.copy_(layer.float_bias.double() + shift.flatten())


def validated_damping(weight: Tensor, parts: list[Statistics]) -> float:
    """Return the share with which weights regressed on one half of the images fit best on the other.

    Args:
        weight: float64 [G, R, K].
        parts: statistics of either half. One image is not two halves: it gets the most damping.
    """
    if len(parts) < 2:
        return _REGRESSION_DAMPINGS[-1]
    first, second = parts
    products = cross_product(weight, first), cross_product(weight, second)
    errors = [
        regression_error(regressed(weight, first, share), second, products[1])
        + regression_error(regressed(weight, second, share), first, products[0])
        for share in _REGRESSION_DAMPINGS
    ]
    return _REGRESSION_DAMPINGS[errors.index(min(errors))]


def cross_product(weight: Tensor, on: Statistics) -> Tensor:
    """Return 2 W C [G, R, K], which every error of weights regressed for `weight` takes."""
    return 2 * weight @ on.cross


def regression_error(found: Tensor, on: Statistics, product: Tensor) -> float:
    """Return the variance of found x^ - W x, summed over rows, less that of W x.

    Args:
        found: the weights regressed, float64 [G, R, K].
        on: statistics of the images that they are judged on.
        product: `cross_product` of W on the same.
    """
    return float(((found @ on.hessian - product) * found).sum())


def _mean_diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=1, dim2=2).mean(1)


def damped(matrix: Tensor, damping: Tensor) -> Tensor:
    """`matrix` [G, K, K] with `damping` [G] added on its diagonal."""
    return matrix + damping[:, None, None] * torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)


def regressed(weight: Tensor, on: Statistics, share: float) -> Tensor:
    """W (C + d I) (H + d I)^-1 [G, R, K]: the least-squares weights for the quantized input, held near W."""
    damping = on.damping(share)
    wanted = weight @ damped(on.cross, damping)
    solved: Tensor = torch.cholesky_solve(wanted.mT, torch.linalg.cholesky(damped(on.hessian, damping))).mT
    return solved


def best_codes(weight: Tensor, scale: Tensor, hessian: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Find codes and scales with about the least error for every row.

    Args:
        weight: float64 [G, R, K].
        scale: float64 [G, R]; shares of it are tried.
        hessian: float64 [G, K, K], positive definite.
        grid: of the codes.

    Returns:
        Codes float64 [G, R, K] and scales float64 [G, R].
    """
    order = hessian.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True)  # the largest variance first
    columns = order[:, None, :].expand_as(weight)
    factor = inverse_factor(hessian, order)
    in_order = weight.gather(2, columns)
    best_error = torch.full_like(scale, torch.inf)
    best, best_scale = torch.zeros_like(weight), scale.clone()
    for share in _SHARES:
        tried = scale * share
        found = compensated_codes(in_order, tried, factor, grid)
        codes = torch.empty_like(found).scatter_(2, columns, found)
        error = output_error(codes * tried[:, :, None] - weight, hessian)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best = torch.where(better[:, :, None], codes, best)
        best_scale = torch.where(better, tried, best_scale)
    along = ((best @ hessian) * best).sum(2)
    fitted = ((weight @ hessian) * best).sum(2) / along
    return best, torch.where((along > 0) & (fitted > 0), fitted, best_scale)


def output_error(difference: Tensor, hessian: Tensor) -> Tensor:
    """Return the variance of each row's output: [G, R, K] and [G, K, K] -> [G, R]."""
    return ((difference @ hessian) * difference).sum(2)


def inverse_factor(hessian: Tensor, order: Tensor) -> Tensor:
    """Upper Cholesky factor [G, K, K] of the inverse, inputs in the order [G, K] given."""
    rows, columns = order[:, :, None].expand_as(hessian), order[:, None, :].expand_as(hessian)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian.gather(1, rows).gather(2, columns)))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def compensated_codes(weight: Tensor, scale: Tensor, factor: Tensor, grid: Grid) -> Tensor:
    """Round column by column, passing each error on to the columns that are left (GPTQ, arXiv 2210.17323, algorithm 1).

    Args:
        weight: float64 [G, R, K], columns in the order of `factor`.
        scale: float64 [G, R].
        factor: of `inverse_factor`.
        grid: of the codes.

    Returns:
        Codes, float64 [G, R, K].
    """
    left = weight.clone()
    codes = torch.empty_like(left)
    inputs = left.shape[2]
    for start in range(0, inputs, _LAZY):
        stop = min(start + _LAZY, inputs)
        errors = torch.empty_like(left[:, :, start:stop])
        for column in range(start, stop):
            code = torch.clamp(torch.round(left[:, :, column] / scale), grid.lo, grid.hi)
            error = (left[:, :, column] - code * scale) / factor[:, None, column, column]
            left[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
            codes[:, :, column], errors[:, :, column - start] = code, error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return codes


def groups_of(layer: QuantizedLayer) -> int:
    """Groups of a convolution; a linear layer is one."""
    return int(layer.geometry.get("groups", 1))


def windows(layer: QuantizedLayer, x: Tensor, chosen: Chosen = ALL) -> Tensor:
    """Return what the chosen outputs of `layer` are computed from: x [B, C, H, W] -> [G, K, outputs].

    Of a linear layer what all of them are: x [..., C].
    """
    if layer.op == "linear":
        return x.reshape(1, -1, x.shape[-1]).mT
    (down, right), (above, left) = layer.geometry["stride"], layer.geometry["padding"]
    padded = F.pad(x, (left, left, above, above))[:, :, chosen.row * down :, chosen.column * right :]
    strides = (down * chosen.every, right * chosen.every)
    columns: Tensor = F.unfold(padded, layer.weight.shape[2:], dilation=layer.geometry["dilation"], stride=strides)
    return columns.view(len(x), groups_of(layer), -1, columns.shape[2]).permute(1, 2, 0, 3).flatten(2)


class _Reached(Exception):
    """The layer was reached; what lies behind it need not be computed."""


def _inputs_of(
    layer: QuantizedLayer, block: Block, float_input: ActivationStore, quantized_input: ActivationStore
) -> Iterator[tuple[Tensor, Tensor]]:
    """What `layer` is given in the float and in the quantized network, some images at a time."""
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept.append(inputs[0].detach())
        raise _Reached

    handle = layer.register_forward_pre_hook(keep)
    device = device_of(block.module)
    try:
        with torch.no_grad():
            size = min(_BATCH, -(-len(float_input) // 2))
            for start in range(0, len(float_input), size):
                stop = min(start + size, len(float_input))
                for rows, quantized in ((float_input, False), (quantized_input, True)):
                    set_quantization(block.module, quantized)
                    with suppress(_Reached):
                        block.module(rows.read(start, stop).to(device))
                yield kept[0], kept[1]
                kept.clear()
    finally:
        set_quantization(block.module, True)
        handle.remove()
