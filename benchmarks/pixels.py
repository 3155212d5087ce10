"""The time of a whole call, from pixels to outputs: `python -m benchmarks.pixels BUILD`, a build with `--input uint8`.

In turns, one thread, batch 1: the float network and the integer one behind their preprocessing in numpy, as people
write it, and the file that takes pixels.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sessions import exact_session, instructions
from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import load_model
from genq_export.runtimes.load import PIXELS_FILE
from genq_export.runtimes.timing import time_in_turns, wall_clock, warm_up
from runtime_tests.verify.float_baseline import export_float

RUNS = 500


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    workspace = Workspace.existing(parser.parse_args().build)
    config = BuildConfig.read(workspace.path("config.yaml"))
    model = load_model(config.model)
    with tempfile.TemporaryDirectory() as folder:
        float_file = Path(folder) / "float.onnx"
        export_float(model, float_file)
        calls = calls_from_pixels(model, float_file, workspace.folder, config.export.input == "uint8-nhwc")
        measure = wall_clock()
        for call in calls.values():
            warm_up(call, measure)
        times = np.median(time_in_turns(list(calls.values()), RUNS, measure), axis=0)
    print(f"{model.name}, {' x '.join(map(str, model.input_size))}; {instructions()}; median of {RUNS} calls")
    print("\n".join(f"{name}: {time:.3f} ms" for name, time in zip(calls, times, strict=True)))


def calls_from_pixels(
    model: LoadedModel, float_file: Path, build: Path, channels_last: bool
) -> dict[str, Callable[[], Any]]:
    """One picture, uint8 [1, H, W, C] as a camera gives it, to outputs, by what computes them."""
    channels, height, width = model.input_size
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, channels), np.uint8)
    mean, std = (np.array(values, np.float32) for values in (model.mean, model.std))

    def numbers() -> Any:
        return np.ascontiguousarray(((picture.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))

    def pixels() -> Any:
        return picture if channels_last else np.ascontiguousarray(picture.transpose(0, 3, 1, 2))

    float_network, integer, from_pixels = map(exact_session, (float_file, build / "model.onnx", build / PIXELS_FILE))
    return {
        "preprocessing alone": numbers,
        "preprocessing, float32 network": lambda: float_network.run(None, {"input": numbers()}),
        "preprocessing, model.onnx": lambda: integer.run(None, {"input": numbers()}),
        PIXELS_FILE: lambda: from_pixels.run(None, {"pixels": pixels()}),
    }


if __name__ == "__main__":
    main()
