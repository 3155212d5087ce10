"""ONNX Runtime sessions as the benchmarks time them, and what of the CPU decides their speed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from genq_export.runtimes.onnxruntime import plain_options, session_options

PROVIDERS = ["CPUExecutionProvider"]
_BATCH = 50


def exact_session(path: Path) -> Any:
    """One thread, with the option that makes 8-bit sums exact. ONNX Runtime refuses some files of its own with it."""
    return onnxruntime.InferenceSession(str(path), session_options(1), providers=PROVIDERS)


def plain_session(path: Path) -> Any:
    """One thread and no other option: 8-bit products may saturate where the CPU has no VNNI."""
    return onnxruntime.InferenceSession(str(path), plain_options(1), providers=PROVIDERS)


def profiled_session(path: Path) -> Any:
    """As `exact_session`; the runtime writes beside the file how long each operator took."""
    options = session_options(1)
    options.enable_profiling, options.profile_file_prefix = True, str(path.with_suffix(""))
    return onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)


def times_as_fast(float_file: Path, file: Path, image: Any, calls: int) -> float:
    """Medians of `calls` calls of each in turns, the first tenth left out, one thread. image: float32 [1, C, H, W]."""
    sessions = [exact_session(path) for path in (float_file, file)]
    feeds = [{session.get_inputs()[0].name: image} for session in sessions]
    taken: list[list[float]] = [[], []]
    for number in range(calls):
        for session, feed, times in zip(sessions, feeds, taken, strict=True):
            started = time.perf_counter()
            session.run(None, feed)
            times += [time.perf_counter() - started] * (number >= calls // 10)
    return float(np.median(taken[0]) / np.median(taken[1]))


def logits_of(session: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, classes] of images [N, C, H, W]."""
    return outputs_of(session, images)[0]


def outputs_of(session: Any, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Every output of images [N, C, H, W]; one by one where the file has a fixed batch of 1 or free sizes."""
    (taken,) = session.get_inputs()
    size = 1 if taken.shape[0] == 1 or not all(isinstance(side, int) for side in taken.shape[1:]) else _BATCH
    parts = [session.run(None, {taken.name: np.array(images[i : i + size])}) for i in range(0, len(images), size)]
    return [np.concatenate(part).astype(np.float32) for part in zip(*parts, strict=True)]


def instructions() -> str:
    """The vector instructions that integer and bfloat16 kernels use, as the operating system reports them."""
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
    return " ".join(name for name in known if name in flags) or "unknown"
