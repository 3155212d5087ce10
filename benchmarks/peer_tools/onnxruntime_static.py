"""ONNX Runtime's `quantize_static`, QDQ, as its documentation advises for x86: uint8 activations, int8 weights.

Its Entropy method is not measured beside MinMax: with its 128 bins for 128 codes it has nothing to choose, and its file
gave the same answers. Percentile is: 99.999, its default, with ranges that need not be symmetric.
"""

from job import Job, run
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    """Calibration images one by one."""

    def __init__(self, images) -> None:
        self._left = iter(images)

    def get_next(self):
        image = next(self._left, None)
        return None if image is None else {"input": image[None]}


def quantize(job: Job):
    method, reduce_range = job.settings["method"], job.settings["reduce_range"]
    prepared = job.folder / "prepared.onnx"
    quant_pre_process(str(job.float_file), str(prepared))
    quantize_static(
        str(prepared), str(job.model_file), Reader(job.calibration), quant_format=QuantFormat.QDQ, per_channel=True,
        reduce_range=reduce_range, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method], extra_options={"CalibTensorRangeSymmetric": False},
    )  # fmt: skip
    return f"QDQ, U8S8, per channel, {method}" + (", reduce_range" if reduce_range else ""), lambda: None


if __name__ == "__main__":
    run(quantize)
