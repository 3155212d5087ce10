"""ONNX Runtime's own W8A8 QDQ files of the zoo's float networks, for `genq-export verify-file`.

python -m benchmarks.static_files --out bench
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from genq_export.config.model import ModelConfig
from genq_export.models.source import load_model

NETWORKS = ("fashion_resnet", "fashion_mobilenet", "fashion_vit")


class Noise(CalibrationDataReader):
    """16 images of noise, float32 [1, C, H, W] each."""

    def __init__(self, size: tuple[int, ...]) -> None:
        images = np.random.default_rng(0).standard_normal((16, 1, *size)).astype(np.float32)
        self._images: Iterator[Any] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next image by the input's name; None behind the last."""
        image = next(self._images, None)
        return None if image is None else {"input": image}


def main() -> None:
    """Write a file for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        network = load_model(ModelConfig(name=name))
        source, path = folder / f"{name}-float.onnx", folder / f"{name}.onnx"
        image = torch.zeros(1, *network.input_size)
        torch.onnx.export(network.module.eval(), (image,), source, input_names=["input"], output_names=["logits"])
        quantize_static(
            str(source), str(path), Noise(network.input_size), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        print(path)


if __name__ == "__main__":
    main()
