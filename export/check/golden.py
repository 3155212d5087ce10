"""Golden data: a few images, and what the integer model makes of them, for checkers that have nothing of ours.

Images are stored as pixels, with a table of the number that each pixel stands for in each channel, so that every
language feeds the same float32. Of the codes there is a hash of all of them, image by image, and every k-th code, which
says by how much a tensor differs that differs. Images are computed one by one: the first axis of a tensor need not be
the image.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genq_export.config.base import Frozen

Answers = tuple[Mapping[str, NDArray[np.float32]], Mapping[str, NDArray[Any]]]
Compute = Callable[[NDArray[np.float32]], Answers]
"""float32 [1, C, H, W] -> outputs by name, and codes by quantizer as the file holds them."""

_SHARE_OF_IMAGES = 0.4  # of the room; the rest is for codes
LEVELS = 256


class Output(Frozen):
    """An output of the network: shape of one image's, and where all images' float32 begin in the data."""

    name: str
    shape: tuple[int, ...]
    at: int


class Quantizer(Frozen):
    """One quantizer. tensor: of the file. shape: of the codes of one image.

    at: where the kept codes begin in the data, image after image, `kept` each: those at 0, step, 2 step, ...
    sha256: of all codes, for each image.
    """

    name: str
    tensor: str
    dtype: Literal["uint8", "int8"]
    shape: tuple[int, ...]
    at: int
    step: int
    kept: int
    sha256: tuple[str, ...]


class Golden(Frozen):
    """Content of `check/golden.json`; offsets are bytes of `check/golden.bin`.

    model, data: sha256 of `model.onnx` and of `golden.bin`. session: entries that the session needs. pixels: uint8
    [images, C, H, W]. table: float32 [C, 256]. least: share of codes that must be equal
    in the first quantizer that differs, image by image. exact_since: the release of ONNX Runtime from which on
    exact sums can be had of the file on x86 without VNNI; None: any.
    """

    format: Literal[1] = 1
    network: str
    grid: str
    target: str
    model: str
    data: str
    session: dict[str, str]
    input: str = "input"
    shape: tuple[int, int, int]
    images: int
    pixels: int
    table: int
    outputs: tuple[Output, ...]
    quantizers: tuple[Quantizer, ...]
    least: float
    exact_since: str | None = None


@dataclass(frozen=True)
class Subject:
    """What is checked: names for people, the file's digest, its code tensors and containers, and what it needs."""

    network: str
    grid: str
    target: str
    model: str
    tensors: Mapping[str, str]
    dtypes: Mapping[str, Literal["uint8", "int8"]]
    session: Mapping[str, str]
    least: float
    exact_since: str | None = None


def make_golden(
    subject: Subject,
    pixels: NDArray[np.uint8],
    table: NDArray[np.float32],
    compute: Compute,
    room: int,
) -> tuple[Golden, bytes]:
    """Compute what `golden.json` and `golden.bin` hold.

    Args:
        subject: the file.
        pixels: uint8 [N, C, H, W], as many as fit in 0.4 of the room are taken, at least one.
        table: float32 [C, 256], the number that a pixel stands for.
        compute: the integer model.
        room: bytes that the data should take at most.
    """
    data = _Data()
    images = pixels[: _images_that_fit(pixels, room)]
    answers = [compute(numbers_of(image, table)) for image in images]
    first_outputs, first_codes = answers[0]
    at_table = data.put(table)
    outputs = []
    for name, value in first_outputs.items():
        at = data.put(np.stack([found[name][0] for found, _ in answers]).astype("<f4"))
        outputs.append(Output(name=name, shape=value.shape[1:], at=at))
    at_pixels = data.put(images)
    left = max(room - len(data.content), 0) // len(images)
    cap = _cap([codes.size for codes in first_codes.values()], left)
    quantizers = tuple(
        _quantizer(name, subject, [codes[name] for _, codes in answers], cap, data) for name in first_codes
    )
    content = bytes(data.content)
    golden = Golden(
        network=subject.network, grid=subject.grid, target=subject.target, model=subject.model,
        data=hashlib.sha256(content).hexdigest(), session=dict(subject.session), shape=pixels.shape[1:],
        images=len(images), pixels=at_pixels, table=at_table, outputs=tuple(outputs), quantizers=quantizers,
        least=subject.least, exact_since=subject.exact_since,
    )  # fmt: skip
    return golden, content


def numbers_of(image: NDArray[np.uint8], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """uint8 [C, H, W] -> float32 [1, C, H, W]."""
    return np.stack([table[channel][pixels] for channel, pixels in enumerate(image)])[None]


def in_levels(numbers: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Write numbers as pixels: each becomes the nearest of 256 even levels between its channel's least and largest.

    Args:
        numbers: float32 [N, C, H, W], what the network takes.

    Returns:
        Pixels uint8 [N, C, H, W], and the number of each level float32 [C, 256].
    """
    low, high = numbers.min((0, 2, 3)), numbers.max((0, 2, 3))
    table = np.linspace(low, high, LEVELS, axis=1, dtype=np.float32)
    step = np.where(high > low, (high - low) / (LEVELS - 1), 1)[:, None, None]
    pixels = np.clip(np.rint((numbers - low[:, None, None]) / step), 0, LEVELS - 1).astype(np.uint8)
    return pixels, table


class _Data:
    def __init__(self) -> None:
        self.content = bytearray()

    def put(self, array: NDArray[Any]) -> int:
        """Append an array's bytes; returns where they begin."""
        at = len(self.content)
        self.content += np.ascontiguousarray(array).tobytes()
        return at


def _images_that_fit(pixels: NDArray[np.uint8], room: int) -> int:
    return int(np.clip(room * _SHARE_OF_IMAGES // pixels[0].size, 1, len(pixels)))


def _cap(sizes: Sequence[int], room: int) -> int:
    """The most codes that a quantizer may keep of an image, so that all keep at most `room`, and at least one."""
    low, high = 1, max(sizes, default=1)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(size, middle) for size in sizes) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _quantizer(name: str, subject: Subject, codes: Sequence[NDArray[Any]], cap: int, data: _Data) -> Quantizer:
    dtype = subject.dtypes[name]
    stored = [np.ascontiguousarray(image.astype(dtype)).reshape(-1) for image in codes]
    step = math.ceil(stored[0].size / cap)
    kept = np.stack([image[::step] for image in stored])
    return Quantizer(
        name=name, tensor=subject.tensors[name], dtype=dtype, shape=codes[0].shape, at=data.put(kept),
        step=step, kept=kept.shape[1], sha256=tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in stored),
    )  # fmt: skip
