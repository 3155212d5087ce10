"""What one revision's own code computes from a build folder, in a process of its own.

Run as a file, with PYTHONPATH set to the revision's tree: `python -P tools/probe_build.py TREE FOLDER IMAGES OUT`.
IMAGES holds preprocessed images, float32 [N, C, H, W], as `images`; OUT gets the logits of `genq_export.load`, and the
logits and every activation's codes of the fake-quant reference and of the integer oracle.

Nothing but public names of the revision is used; where an older one keeps them is listed.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

REFERENCE = (("genq_export.network.files", "load_reference"), ("genq_export.quantization.reference", "load_reference"))
ORACLE = (("genq_export.network.files", "load_integer_model"), ("export.fold", "load_integer_model"))
RECORD = (("genq_export.network.hooks", "record_codes"), ("genq_export.quantization.fake_quant", "record_codes"))


def main() -> None:
    """Read TREE, FOLDER, IMAGES and OUT from the command line."""
    tree, folder, images, out = (Path(argument).resolve() for argument in sys.argv[1:])
    import genq_export

    if not Path(genq_export.__file__).is_relative_to(tree):
        sys.exit(f"error: {genq_export.__file__} is not below {tree}")
    save_file(outputs(folder, load_file(images)["images"]), out)


def outputs(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return logits float32 [N, K] and codes int32 by `load.logits`, `oracle.logits`, `oracle.codes.NAME`, …"""
    import genq_export

    found = {"load.logits": genq_export.load(folder, threads=1)(images)}
    record = first_of(RECORD)
    for name, places in (("reference", REFERENCE), ("oracle", ORACLE)):
        logits, codes = record(first_of(places)(folder), torch.from_numpy(images))
        found[f"{name}.logits"] = logits.numpy()
        found |= {f"{name}.codes.{key}": value.numpy() for key, value in codes.items()}
    return {name: np.ascontiguousarray(value) for name, value in found.items()}


def first_of(places: tuple[tuple[str, str], ...]) -> Any:
    """Return the function at the first of these modules that exists in this revision."""
    for module, name in places:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    raise ImportError(f"this revision has none of {', '.join(f'{module}.{name}' for module, name in places)}")


if __name__ == "__main__":
    main()
