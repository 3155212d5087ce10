"""What the scripts here share: MODEL and INPUTS come as arguments, logits go to a file, facts to standard output.

    python onnxruntime_job.py MODEL.onnx INPUTS.npy LOGITS.npy

INPUTS: float32 [N, C, H, W], run one by one. Facts: JSON with `version`, and `integer` of `layers`, how many
convolutions and matrix products are computed in integers, null where the runtime does not say. Needs numpy alone.
"""

import json
import sys
from collections.abc import Callable

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]


def main(version: str, open_model: Callable[[str], tuple[Run, int | None, int | None]]) -> None:
    """Run all inputs; what goes wrong ends the process with its words as the last line."""
    model, inputs, logits = sys.argv[1:4]
    run, integer, layers = open_model(model)
    np.save(logits, np.concatenate([run(image[None]) for image in np.load(inputs)]))
    print(json.dumps({"version": version, "integer": integer, "layers": layers}))
