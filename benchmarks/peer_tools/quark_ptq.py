"""AMD Quark's `ModelQuantizer` on the ONNX file: its configuration for CPUs, U8S8_AAWS (uint8 activations, percentile).

Weights per channel, as of every other tool here. `head_in_float`: the nodes behind the last convolution excluded.
"""

from copy import deepcopy

from heads import behind_layers
from job import Job, run
from onnxruntime.quantization import CalibrationDataReader
from quark.onnx import ModelQuantizer
from quark.onnx.quantization.config import Config, get_default_config


class Reader(CalibrationDataReader):
    """Calibration images one by one."""

    def __init__(self, images, name: str) -> None:
        self._images, self._name = images, name
        self.rewind()

    def get_next(self):
        image = next(self._left, None)
        return None if image is None else {self._name: image[None]}

    def rewind(self) -> None:
        self._left = iter(self._images)

    def reset_iter(self) -> None:
        self.rewind()


def quantize(job: Job):
    name = job.settings["config"]
    config = deepcopy(get_default_config(name))
    config.per_channel = True
    excluded = behind_layers(job.float_file) if job.settings.get("head_in_float") else []
    config.nodes_to_exclude = excluded
    reader = Reader(job.calibration, job.input_name)
    ModelQuantizer(Config(global_quant_config=config)).quantize_model(str(job.float_file), str(job.model_file), reader)
    return f"{name}, per channel" + (", head in float" if excluded else ""), lambda: None


if __name__ == "__main__":
    run(quantize)
