"""ONNX Runtime on the CPU, default session; which kernels ran stands in its profile."""

import json
import os
import tempfile
from collections import Counter

import numpy as np
import onnxruntime as ort
from job import Run, main

_INTEGER = {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
_FLOAT = {"Conv", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "FusedGemm"}


def open_model(path: str) -> tuple[Run, int | None, int | None]:
    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.enable_profiling, options.profile_file_prefix = True, os.path.join(folder, "profile")
        profiled = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        shape = [1, *profiled.get_inputs()[0].shape[1:]]
        profiled.run(None, {profiled.get_inputs()[0].name: np.zeros(shape, np.float32)})
        with open(profiled.end_profiling()) as file:
            ran = Counter(event["args"].get("op_name") for event in json.load(file) if _is_kernel(event))
    session = ort.InferenceSession(path, _options(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    integer, real = (sum(ran[kind] for kind in kinds) for kinds in (_INTEGER, _FLOAT))
    return lambda image: session.run(None, {name: image})[0], integer, integer + real


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return options


def _is_kernel(event: dict) -> bool:
    return event.get("cat") == "Node" and event["name"].endswith("_kernel_time")


main(ort.__version__, open_model)
