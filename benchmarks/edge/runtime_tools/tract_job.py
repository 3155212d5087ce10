"""tract, through its Python package."""

from importlib.metadata import version

import tract
from job import Run, main


def open_model(path: str) -> tuple[Run, int | None, int | None]:
    runnable = tract.onnx().load(path).into_model().into_runnable()
    return lambda image: runnable.run([image])[0].to_numpy(), None, None


main(version("tract"), open_model)
