"""The idx reader takes good files, gzipped or plain, and says what is wrong with others."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tools.train_zoo.idx import load_split, read_idx


def idx_bytes(array: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)


def write_set(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))


def test_plain_and_gzipped_files_load(tmp_path: Path, images: np.ndarray) -> None:
    write_set(tmp_path, images, np.array([1, 2, 9], np.uint8))
    loaded, labels = load_split(tmp_path, "train")
    assert np.array_equal(loaded, images)
    assert labels.dtype == np.int64 and labels.tolist() == [1, 2, 9]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte"):
        load_split(tmp_path, "t10k")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"GIF89a", "not an idx file"),
        (b"\0\0\x08\x03\0\0", "header is truncated"),
        (b"\0\0\x08\0", "header is truncated"),
        (idx_bytes(np.zeros(4, np.float32), kind=0x0D), "element type 0x0d"),
        (idx_bytes(np.zeros(9, np.uint8))[:-1], "promises 9 bytes, file holds 8"),
        (idx_bytes(np.zeros(9, np.uint8)) + b"\0", "promises 9 bytes, file holds 10"),
        (gzip.compress(idx_bytes(np.zeros(99, np.uint8)), mtime=0)[:-10], "damaged gzip"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((3, 28, 27), [0, 1, 2], "images have shape"),
        ((3, 28, 28), [0, 1], "labels of shape"),
        ((3, 28, 28), [0, 1, 10], "labels go up to 10"),
    ],
)
def test_files_that_do_not_belong_together(
    tmp_path: Path, shape: tuple[int, ...], labels: list[int], message: str
) -> None:
    write_set(tmp_path, np.zeros(shape, np.uint8), np.array(labels, np.uint8))
    with pytest.raises(ValueError, match=message):
        load_split(tmp_path, "train")
