"""OpenVINO on the CPU. BATCH=free keeps the batch that the file leaves open; otherwise it is fixed to one image."""

import os

import openvino as ov
from job import Run, main

_LAYERS = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul"}


def open_model(path: str) -> tuple[Run, int | None, int | None]:
    core = ov.Core()
    model = core.read_model(path)
    if os.environ.get("BATCH") != "free":
        model.reshape([1, *[int(side.get_length()) for side in list(model.inputs[0].partial_shape)[1:]]])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    precisions = [
        str(operator.get_rt_info()["runtimePrecision"].astype(str)).lower()
        for operator in compiled.get_runtime_model().get_ops()
        if operator.get_rt_info()["layerType"].astype(str) in _LAYERS
    ]
    integer = sum(precision in ("u8", "i8") for precision in precisions)
    return lambda image: compiled(image)[0].copy(), integer, len(precisions)


main(ov.__version__.split("-")[0], open_model)
