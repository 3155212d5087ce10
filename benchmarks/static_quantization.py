"""ONNX Runtime's own `quantize_static`, as its documentation advises for x86 with VNNI."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """float32 [1, C, H, W] each, by the input's name."""

    def __init__(self, images: Iterable[Any], name: str) -> None:
        self._left, self._name = iter(images), name

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._left, None)
        return None if image is None else {self._name: image}


def quantize(source: Path, file: Path, images: Iterable[Any], name: str, **options: Any) -> None:
    """QDQ, U8S8, weights per channel.

    Args:
        source: A float file.
        file: What is written.
        images: float32 [1, C, H, W] each, to calibrate on.
        name: Of the input.
        options: Further ones of `quantize_static`.
    """
    quantize_static(
        str(source), str(file), _Images(images, name), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **options,
    )  # fmt: skip
