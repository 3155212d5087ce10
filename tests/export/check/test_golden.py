"""Golden data is small, complete, and read by checkers as it was written."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.check.golden import Subject, in_levels, make_golden, numbers_of

SUBJECT = Subject(
    "net", "W4A4", "onnxruntime", "0" * 64, {"a": "a/codes", "b": "b/codes"}, {"a": "uint8", "b": "uint8"}, {}, 0.999
)
ASSETS = Path(__file__).parents[3] / "export" / "check" / "assets"


def compute(batch: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    codes = (batch[0] * 100).astype(np.int32)
    return {"logits": batch.reshape(1, -1)[:, :5]}, {"a": codes, "b": codes[:1].repeat(4, 0)}


@given(st.integers(1, 12), st.integers(1, 9), st.integers(300, 20_000))
def test_every_nth_code_and_all_hashes_are_kept_within_the_room(count: int, side: int, room: int) -> None:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 3, side, side), np.uint8)
    table = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(3, 0)
    golden, data = make_golden(SUBJECT, pixels, table, compute, room)
    fixed = table.nbytes + golden.images * (pixels[0].size + 4 * golden.outputs[0].shape[0])
    assert len(data) <= max(room, fixed + 2 * golden.images)
    assert golden.data == hashlib.sha256(data).hexdigest()
    for image in range(golden.images):
        _, codes = compute(numbers_of(pixels[image], table))
        for item in golden.quantizers:
            truth = codes[item.name].astype(np.uint8)
            kept = np.frombuffer(data, np.uint8, item.kept, item.at + image * item.kept)
            assert (kept == truth.reshape(-1)[:: item.step]).all()
            assert item.sha256[image] == hashlib.sha256(truth.tobytes()).hexdigest()


def test_numbers_are_written_as_the_nearest_of_even_levels() -> None:
    numbers = np.random.default_rng(0).normal(0, [[[[3]], [[1]]]], (5, 2, 4, 4)).astype(np.float32)
    numbers[0, :, 0, 0] = 0
    pixels, table = in_levels(numbers)
    steps = (numbers.max((0, 2, 3)) - numbers.min((0, 2, 3))) / 255
    for image, found in zip(numbers, pixels, strict=True):
        assert (np.abs(numbers_of(found, table)[0] - image) <= steps[:, None, None] * 0.501).all()


def test_pixels_of_eight_bits_and_a_channel_of_one_number_stay_what_they_are() -> None:
    numbers = np.stack([np.arange(256, dtype=np.float32), np.full(256, 7, np.float32)]).reshape(1, 2, 16, 16)
    assert numbers_of(in_levels(numbers)[0][0], in_levels(numbers)[1]).tolist() == numbers.tolist()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_pages_sha256_is_sha256() -> None:
    program = (
        f'import {{ sha256 }} from "file://{ASSETS}/sha256.mjs";'
        "for (let n = 0; n < 200; n++) console.log(sha256(new Uint8Array(n).map((_, i) => (i * 7 + n) % 256)));"
    )
    done = subprocess.run(["node", "--input-type=module", "-e", program], capture_output=True, text=True, check=True)
    expected = [hashlib.sha256(bytes((i * 7 + n) % 256 for i in range(n))).hexdigest() for n in range(200)]
    assert done.stdout.split() == expected
