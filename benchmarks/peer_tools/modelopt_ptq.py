"""NVIDIA Model Optimizer's `modelopt.onnx.quantization.quantize`: INT8 with its defaults, its rest in float32.

`high_precision_dtype` is float16 by default, for GPUs; CPUs compute float32. Its files are made for TensorRT.
"""

from job import Job, run
from modelopt.onnx.quantization import quantize as quantize_file


def quantize(job: Job):
    method = job.settings["method"]
    quantize_file(
        str(job.float_file), quantize_mode="int8", calibration_data=job.calibration, calibration_method=method,
        calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=str(job.model_file),
    )  # fmt: skip
    return f"int8, {method}", lambda: None


if __name__ == "__main__":
    run(quantize)
