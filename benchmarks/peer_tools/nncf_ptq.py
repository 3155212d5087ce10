"""NNCF's `nncf.quantize` on the ONNX file with its defaults: fast bias correction, and a preset by model type.

`ignored` in the settings: names of nodes for its `ignored_scope`, as its documentation advises for the post-processing
of detectors.
"""

import nncf
import onnx
from job import Job, run


def quantize(job: Job):
    transformer, ignored = job.settings["transformer"], job.settings.get("ignored", [])
    model = onnx.load(job.float_file)
    name = model.graph.input[0].name
    model = nncf.quantize(
        model,
        nncf.Dataset([{name: image[None]} for image in job.calibration]),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        subset_size=len(job.calibration),
        ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
    )
    onnx.save(model, job.model_file)
    words = f"preset {'mixed (transformer)' if transformer else 'performance'}, fast bias correction"
    return words + (f", ignored scope of {len(ignored)} nodes" if ignored else ""), lambda: None


if __name__ == "__main__":
    run(quantize)
