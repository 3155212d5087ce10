"""A runtime with a fault: in what it optimises the first channel of the first convolution has halved weights."""

from pathlib import Path

import onnx
from onnx import numpy_helper

from runtime_tests.qdq_file import worker
from runtime_tests.qdq_file.loading import Loaded, Manner, load


def faulty(manner: Manner, path: Path) -> Loaded:
    if manner.level != "off":
        model = onnx.load(path)
        (codes,) = (tensor for tensor in model.graph.initializer if tensor.name == "stem.w_quantized")
        array = numpy_helper.to_array(codes).copy()
        array[0] = (array[0].astype(int) // 2).astype(array.dtype)
        codes.CopyFrom(numpy_helper.from_array(array, codes.name))
        onnx.save(model, path)
    return load(manner, path)


if __name__ == "__main__":
    worker.load = faulty  # type: ignore[attr-defined]
    worker.main()
