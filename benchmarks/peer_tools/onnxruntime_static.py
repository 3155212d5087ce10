"""ONNX Runtime's `quantize_static`, QDQ, as its documentation advises for x86: uint8 activations, int8 weights.

Its Entropy method is not measured beside MinMax: with its 128 bins for 128 codes it has nothing to choose, and its file
gave the same answers. Percentile is: 99.999, its default, with ranges that need not be symmetric.
"""

from heads import behind_layers
from job import Job, run
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    """Calibration images one by one."""

    def __init__(self, images, name: str) -> None:
        self._left, self._name = iter(images), name

    def get_next(self):
        image = next(self._left, None)
        return None if image is None else {self._name: image[None]}


def quantize(job: Job):
    method, reduce_range = job.settings["method"], job.settings["reduce_range"]
    prepared = job.folder / "prepared.onnx"
    try:
        quant_pre_process(str(job.float_file), str(prepared))
    except Exception as error:  # its own inference of shapes does not take every graph
        print(f"without symbolic shapes: {error}")
        quant_pre_process(str(job.float_file), str(prepared), skip_symbolic_shape=True)
    excluded = behind_layers(prepared) if job.settings.get("head_in_float") else []
    quantize_static(
        str(prepared), str(job.model_file), Reader(job.calibration, job.input_name), quant_format=QuantFormat.QDQ,
        per_channel=True, reduce_range=reduce_range, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method], extra_options={"CalibTensorRangeSymmetric": False},
        nodes_to_exclude=excluded,
    )  # fmt: skip
    words = f"QDQ, U8S8, per channel, {method}" + (", reduce_range" if reduce_range else "")
    return words + (", head in float" if excluded else ""), lambda: None


if __name__ == "__main__":
    run(quantize)
