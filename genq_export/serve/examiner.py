"""Draws images that no device has seen before, and knows what the integer model makes of them; the device does not."""

import base64
import secrets
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.check.golden import Compute, numbers_of
from export.check.read import GoldenData
from genq_export.core.errors import UserError
from genq_export.serve.answer import Answer
from genq_export.serve.judge import judge
from runtime_tests.verify.results import DeviceResult

_MOST_OPEN = 32  # questions that wait for an answer
_NOISE = 3  # levels
_ENVELOPE = 65_536  # bytes of an answer that are no codes and no outputs


@dataclass(frozen=True)
class Questions:
    """Images uint8 [N, C, H, W] under a name that cannot be guessed."""

    name: str
    pixels: NDArray[np.uint8]


class Examiner:
    """Asks, and judges what was answered."""

    def __init__(self, data: GoldenData, compute: Compute) -> None:
        """data: of the build's check; compute: the integer model."""
        self._data, self._compute = data, compute
        self._open: dict[str, Questions] = {}
        self._lock = threading.Lock()

    @property
    def most_bytes(self) -> int:
        """Of an answer in JSON."""
        golden = self._data.golden
        outputs = sum(4 * int(np.prod(output.shape)) for output in golden.outputs)
        codes = sum(item.kept + len(item.name) + 200 for item in golden.quantizers)
        return _ENVELOPE + 2 * golden.images * (outputs + codes)

    def ask(self) -> dict[str, Any]:
        """Draw images; what a device is told of them, as JSON."""
        seed = secrets.randbits(128)
        questions = Questions(secrets.token_urlsafe(16), fresh_pixels(self._data.pixels, np.random.default_rng(seed)))
        with self._lock:
            while len(self._open) >= _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[questions.name] = questions
        return self._told(questions)

    def judge(self, answer: Answer, device: str) -> DeviceResult:
        """Compute what was expected and compare.

        Args:
            answer: to questions that were asked and are still open.
            device: what it calls itself.

        Raises:
            UserError: where nothing was asked under that name, another file was run, or the answer is no answer.
        """
        with self._lock:
            questions = self._open.get(answer.questions)
        if questions is None:
            raise UserError("nothing was asked under this name, or it was answered before: start the check again")
        golden = self._data.golden
        if answer.model != golden.model:
            raise UserError("the answer is of another model.onnx than this build's: load the page again")
        with self._lock:  # hooks of the integer model are one caller's at a time
            expected = [self._compute(numbers_of(image, self._data.table)) for image in questions.pixels]
        hidden = f"; its page was hidden for {answer.hidden_seconds:.0f} s of it" if answer.hidden_seconds >= 1 else ""
        return DeviceResult(
            format=1, **judge(golden, expected, answer.images), model=answer.model, golden=golden.data,
            runtime=answer.runtime, device=device, threads=answer.threads, latency_ms=answer.latency_ms,
            note=f"fresh images, compared by the host{hidden}", compared_by="host",
        )  # fmt: skip

    def close(self, name: str) -> None:
        """Take no further answer to these questions."""
        with self._lock:
            self._open.pop(name, None)

    def _told(self, questions: Questions) -> dict[str, Any]:
        golden = self._data.golden
        content = self._data.table.astype("<f4").tobytes() + questions.pixels.tobytes()
        return {
            "questions": questions.name,
            "input": golden.input,
            "shape": golden.shape,
            "session": golden.session,
            "images": len(questions.pixels),
            "table": 0,
            "pixels": self._data.table.size * 4,
            "outputs": [{"name": output.name, "shape": output.shape} for output in golden.outputs],
            "quantizers": [
                item.model_dump(include={"name", "tensor", "dtype", "step", "kept"}) for item in golden.quantizers
            ],
            "data": base64.b64encode(content).decode(),
        }


def fresh_pixels(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Images that keep the look of those given: two of them blended, mirrored, moved, and with a little noise.

    Args:
        pixels: uint8 [N, C, H, W].
        rng: decides everything.

    Returns:
        uint8 of the same shape.
    """
    return np.stack([_fresh(pixels, rng) for _ in pixels])


def _fresh(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    first, second = pixels[rng.integers(len(pixels), size=2)].astype(np.float64)
    image = first + rng.uniform(0, 0.3) * (second - first)
    image = image[:, :, ::-1] if rng.random() < 0.5 else image
    shifts = [int(rng.integers(-side // 8, side // 8 + 1)) for side in image.shape[1:]]
    moved = np.roll(image, shifts, axis=(1, 2)) + rng.integers(-_NOISE, _NOISE + 1, image.shape)
    levels: NDArray[np.uint8] = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return levels
