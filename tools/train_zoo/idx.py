"""Read the four idx files of Fashion-MNIST (or any set in the same format), gzipped or plain."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts them

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def load_split(folder: Path, split: Literal["train", "t10k"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return (images uint8 [N, 28, 28], labels int64 [N]) of one split.

    Raises FileNotFoundError where a file is missing and ValueError where one is not what its name says.
    """
    images = read_idx(_find(folder, f"{split}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{split}-labels-idx1-ubyte"))
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(f"{folder}: {split} images have shape {images.shape}, expected [N, 28, 28]")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{folder}: {images.shape[0]} {split} images but labels of shape {labels.shape}")
    if labels.size and labels.max() > 9:
        raise ValueError(f"{folder}: {split} labels go up to {labels.max()}, expected 0..9")
    return images, labels.astype(np.int64)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the array of one idx file of unsigned bytes, in the shape its header gives.

    Raises ValueError where the file is not such a file, is truncated, or has bytes left over.
    """
    data = path.read_bytes()
    if data[:2] == _GZIP_MAGIC:
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from error
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{path}: not an idx file")
    kind, dimensions = data[2], data[3]
    if kind != _UNSIGNED_BYTE:
        raise ValueError(f"{path}: idx element type 0x{kind:02x}, expected unsigned bytes (0x08)")
    header = 4 + 4 * dimensions
    if dimensions == 0 or len(data) < header:
        raise ValueError(f"{path}: idx header is truncated")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    expected = int(np.prod(shape, dtype=object))
    if len(data) - header != expected:
        raise ValueError(f"{path}: header promises {expected} bytes, file holds {len(data) - header}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _find(folder: Path, stem: str) -> Path:
    for name in (stem + ".gz", stem):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder} holds neither {stem}.gz nor {stem}; install the Debian package dataset-fashion-mnist "
        "or name the folder with Fashion-MNIST's four idx files"
    )
