"""NNCF's `nncf.quantize` on the ONNX file with its defaults: fast bias correction, and a preset by model type."""

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
        subset_size=len(job.calibration),
    )
    onnx.save(model, job.model_file)
    return f"preset {'mixed (transformer)' if transformer else 'performance'}, fast bias correction", lambda: None


if __name__ == "__main__":
    run(quantize)
