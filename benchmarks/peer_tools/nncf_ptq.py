"""NNCF's `nncf.quantize` on the ONNX file: its defaults, which are fast bias correction and the preset by model type."""

import nncf
import onnx
from job import Job, run


def quantize(job: Job):
    transformer = job.settings["transformer"]
    images = nncf.Dataset([{"input": image[None]} for image in job.calibration])
    model = nncf.quantize(
        onnx.load(job.float_file),
        images,
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        fast_bias_correction=job.settings["fast_bias_correction"],
        subset_size=len(job.calibration),
    )
    onnx.save(model, job.model_file)
    bias = "fast bias correction" if job.settings["fast_bias_correction"] else "bias correction"
    return f"preset {'mixed (transformer)' if transformer else 'performance'}, {bias}", lambda: None


if __name__ == "__main__":
    run(quantize)
