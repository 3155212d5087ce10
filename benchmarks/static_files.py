"""ONNX Runtime's own W8A8 QDQ files of the zoo's float networks, for `genq-export verify-file`.

python -m benchmarks.static_files --out bench
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.static_quantization import quantize
from genq_export.config.model import ModelConfig
from genq_export.models.source import load_model

NETWORKS = ("fashion_resnet", "fashion_mobilenet", "fashion_vit")


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
        noise = np.random.default_rng(0).standard_normal((16, 1, *network.input_size)).astype(np.float32)
        quantize(source, path, noise, "input")
        print(path)


if __name__ == "__main__":
    main()
