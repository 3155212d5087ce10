"""What a file is run on: random numbers that look like pictures to statistics, or pictures of a folder."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from genq_export.core.errors import UserError
from genq_export.data.noise import noise
from runtime_tests.qdq_file.graph import Quantizer

Feeds = dict[str, NDArray[Any]]
_SMALLEST_PICTURE = 4  # pixels of a side
_DEVIATIONS = 3.0  # standard deviations of a random picture between the middle of the range and its end
_MOST = 2**28  # numbers of an input
_LARGEST_INDEX = 10  # of inputs that are integers


@dataclass(frozen=True)
class Input:
    """An input of a network.

    dtype: numpy's name of what it takes. shape: as it is run. low, high: what its quantizer tells apart; None where it
    has none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float | None
    high: float | None

    @property
    def picture(self) -> str | None:
        """`NCHW` or `NHWC`, or None where it is no picture of 1 or 3 channels."""
        if len(self.shape) != 4 or self.dtype not in ("float16", "float32", "float64", "uint8"):
            return None
        return "NCHW" if self.shape[1] in (1, 3) else "NHWC" if self.shape[3] in (1, 3) else None

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height, width of a picture."""
        _, a, b, c = self.shape
        return (a, b, c) if self.picture == "NCHW" else (c, a, b)


def inputs_of(
    model: onnx.ModelProto, quantizers: Sequence[Quantizer], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Input, ...]:
    """The inputs of a file, free first axes as 1.

    Args:
        model: the file.
        quantizers: its own.
        shapes: by name, or `""` for the only input, where the user says them.

    Raises:
        UserError: for a shape that is free and not said, or does not fit, and for inputs that are no numbers.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    parts = [part for part in model.graph.input if part.name not in stored]
    unknown = shapes.keys() - {part.name for part in parts} - {""}
    if unknown:
        raise UserError(f"the file has no input '{min(unknown)}'; it has {', '.join(part.name for part in parts)}")
    if "" in shapes and len(parts) != 1:
        raise UserError(f"the file has {len(parts)} inputs: say --shape NAME=1,3,224,224 for each")
    ranges = {item.source: item for item in quantizers}
    return tuple(_input(part, ranges.get(part.name), shapes.get(part.name, shapes.get(""))) for part in parts)


def _input(part: Any, quantizer: Quantizer | None, said: tuple[int, ...] | None) -> Input:
    kind = part.type.tensor_type
    if not part.type.HasField("tensor_type") or kind.elem_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise UserError(f"input '{part.name}' is no tensor of numbers")
    sizes = [axis.dim_value if axis.dim_value > 0 else None for axis in kind.shape.dim]
    if said is None:
        sizes[:1] = [sizes[0] or 1] if sizes else []
        if None in sizes or not kind.HasField("shape"):
            shown = ",".join(str(size or "?") for size in sizes) or "of any shape"
            raise UserError(f"input '{part.name}' is [{shown}]: say its sizes, as in --shape {part.name}=1,3,224,224")
        said = tuple(size for size in sizes if size is not None)
    elif kind.HasField("shape") and (
        len(said) != len(sizes) or any(size not in (None, given) for size, given in zip(sizes, said, strict=True))
    ):
        shown = ",".join(str(size or "?") for size in sizes)
        raise UserError(f"--shape: input '{part.name}' is [{shown}], not [{','.join(map(str, said))}]")
    if math.prod(said) > _MOST:
        raise UserError(f"input '{part.name}' takes {math.prod(said):,} numbers, which is more than is tried here")
    low, high = (quantizer.range if quantizer is not None else None) or (None, None)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return Input(part.name, dtype, said, low, high)


def random_samples(inputs: Sequence[Input], count: int, seed: int) -> Iterator[Feeds]:
    """Numbers within the range of each input; pictures are noise of amplitude 1/f^b, whose neighbours are alike."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield {item.name: _random(item, rng) for item in inputs}


def _random(item: Input, rng: np.random.Generator) -> NDArray[Any]:
    kind = np.dtype(item.dtype)
    if kind.kind in "iub" and item.picture is None:
        return rng.integers(0, 2 if kind.kind == "b" else _LARGEST_INDEX, item.shape).astype(kind)
    if item.picture is not None and min(item.size[1:]) >= _SMALLEST_PICTURE:
        numbers = np.stack([_noise(item, rng) for _ in range(item.shape[0])])
    else:
        numbers = rng.standard_normal(item.shape)
    low, high = _bounds(item)
    scaled = (low + high) / 2 + numbers * (high - low) / (2 * _DEVIATIONS)
    return np.clip(scaled, low, high).astype(kind)


def _noise(item: Input, rng: np.random.Generator) -> NDArray[np.float64]:
    channels, height, width = item.size
    drawn = noise(height, width, rng.uniform(0.8, 1.8), rng)[..., :channels]
    return drawn.transpose(2, 0, 1) if item.picture == "NCHW" else drawn


def _bounds(item: Input) -> tuple[float, float]:
    """Of its quantizer; of pixels; of three standard deviations."""
    if item.low is not None and item.high is not None:
        return item.low, item.high
    return (0.0, 255.0) if item.dtype == "uint8" else (-_DEVIATIONS, _DEVIATIONS)


@dataclass(frozen=True)
class Pixels:
    """What a pixel in [0, 1] stands for, `(x - mean) / std` in each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def image_samples(
    inputs: Sequence[Input], folder: Path, count: int, pixels: Pixels | None = None
) -> tuple[list[Feeds], str]:
    """Pictures of a folder, spread over it: the shorter side resized, the middle cut out, pixels in the input's range.

    Args:
        inputs: one, a picture.
        folder: as `--eval` takes it.
        count: pictures at most.
        pixels: None: from 0 to 1 as the quantizer of the input has its range, or 0 to 1 where there is none.

    Returns:
        What the network is fed, and what became of the folder's files.

    Raises:
        UserError: where the input is no picture, or the folder holds none.
    """
    from genq_export.data.pictures import as_pictures
    from genq_export.data.raw import Reading
    from genq_export.data.reader import read_images

    if len(inputs) != 1 or inputs[0].picture is None:
        raise UserError(
            "--images: the file does not take one picture of 1 or 3 channels; leave it out for random input"
        )
    item = inputs[0]
    found = read_images(folder, None, Reading(), decode=False)
    pictures = as_pictures(found.images)
    batch = item.shape[0]
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), count * batch)).round().astype(int))
    numbers = [_numbers(pictures[int(number)], item, pixels) for number in chosen]
    whole = [np.stack(numbers[start : start + batch]) for start in range(0, len(numbers) - batch + 1, batch)]
    if not whole:
        raise UserError(f"--images: the file takes {batch} pictures at once, {folder} holds {len(pictures)}")
    kind = np.dtype(item.dtype)
    return [{item.name: part.astype(kind)} for part in whole], f"{len(whole) * batch} pictures of {folder}"


def _numbers(picture: Any, item: Input, pixels: Pixels | None) -> NDArray[np.float64]:
    from PIL import Image, ImageOps

    channels, height, width = item.size
    cut = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (width, height), Image.Resampling.BILINEAR)
    array = np.asarray(cut, np.float64).reshape(height, width, channels) / 255
    if pixels is not None:
        array = (array - np.asarray(pixels.mean)) / np.asarray(pixels.std)
    else:
        low, high = (item.low, item.high) if item.low is not None and item.high is not None else (0.0, 1.0)
        low, high = (0.0, 255.0) if item.dtype == "uint8" else (low, high)
        array = low + array * (high - low)
    return array.transpose(2, 0, 1) if item.picture == "NCHW" else array
