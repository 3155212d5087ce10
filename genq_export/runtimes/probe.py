"""Codes of a deployed file: a session over a copy of its graph that has every code tensor as a further output.

Made when codes are first asked for; the file and the session that answers stay as they are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genq_export.network.names import quantizer_of
from genq_export.network.onnx_graph import quantizers, read_model, with_code_outputs
from genq_export.runtimes.base import Batch, Codes, Outputs


class Probe:
    """The watching copy of one file in one runtime.

    Args:
        path: the ONNX file.
        load: loads a serialised model; returns whatever `run` takes.
        run: gives the outputs and the tensors of these names, for one batch.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[bytes], Any],
        run: Callable[[Any, Batch, list[str]], tuple[Outputs, list[Any]]],
    ) -> None:
        self._path, self._load, self._run = path, load, run
        self._loaded: Any = None
        self._tensors: list[str] = []

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs float32 [B, ...] by name, and codes by quantizer name. Raises BackendError."""
        if self._loaded is None:
            model = read_model(self._path)
            self._tensors = [quantizer.tensor for quantizer in quantizers(model)]
            self._loaded = self._load(with_code_outputs(model))
        outputs, found = self._run(self._loaded, batch, self._tensors)
        names = [str(quantizer_of(tensor)) for tensor in self._tensors]
        return outputs, dict(zip(names, found, strict=True))

    def close(self) -> None:
        """Drop the copy."""
        self._loaded = None
