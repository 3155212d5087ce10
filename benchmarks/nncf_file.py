"""A float ONNX file quantized by NNCF, for `genq-export verify-file`; needs `pip install nncf onnx onnxruntime` alone.

python benchmarks/nncf_file.py bench/fashion_resnet-float.onnx bench/fashion_resnet-nncf.onnx
"""

import argparse
from pathlib import Path

import nncf
import numpy as np
import onnx


def main() -> None:
    """Calibrate on 64 images of noise, of one input whose free sizes are one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    model = onnx.load(options.source)
    (entry,) = model.graph.input
    shape = [size.dim_value or 1 for size in entry.type.tensor_type.shape.dim]
    images = np.random.default_rng(0).standard_normal((64, *shape)).astype(np.float32)
    dataset = nncf.Dataset([{entry.name: image} for image in images])
    onnx.save(nncf.quantize(model, dataset, subset_size=len(images)), options.place)


if __name__ == "__main__":
    main()
