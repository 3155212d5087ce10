"""NNCF's `nncf.quantize` on the ONNX file with its defaults: fast bias correction, and a preset by model type.

`head_in_float` in the settings: the nodes behind the last convolution are its `ignored_scope`, as its documentation
advises for the post-processing of detectors.
"""

import nncf
import onnx
from heads import behind_layers
from job import Job, run


def quantize(job: Job):
    transformer = job.settings["transformer"]
    ignored = behind_layers(job.float_file) if job.settings.get("head_in_float") else []
    model = nncf.quantize(
        onnx.load(job.float_file),
        nncf.Dataset([{job.input_name: image[None]} for image in job.calibration]),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        subset_size=len(job.calibration),
        ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
    )
    onnx.save(model, job.model_file)
    words = f"preset {'mixed (transformer)' if transformer else 'performance'}, fast bias correction"
    return words + (f", ignored scope of {len(ignored)} nodes" if ignored else ""), lambda: None


if __name__ == "__main__":
    run(quantize)
