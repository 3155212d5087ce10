"""What every peer's script is given and hands back, in the peers' own environment.

    python benchmarks/peer_tools/SCRIPT.py FOLDER

FOLDER holds `job.json`. The script writes `model.onnx`, or `logits.npy` (float32 [N, classes], of the judging images)
where the tool's result cannot be run elsewhere, or both; and last `facts.json`: seconds of processor time that
quantizing took, and the settings in words.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Job:
    """One network to quantize. float_file: its ONNX file, input `input`; judging: float32 images [N, C, H, W]."""

    folder: Path
    network: str
    float_file: Path
    calibration_file: Path
    judging_file: Path
    weight_bits: int
    activation_bits: int
    settings: dict[str, Any]

    @property
    def calibration(self) -> np.ndarray:
        """Float32 [N, C, H, W] in the network's own preprocessing."""
        return np.load(self.calibration_file)

    @property
    def model_file(self) -> Path:
        """Where the quantized ONNX file goes."""
        return self.folder / "model.onnx"

    def module(self) -> nn.Module:
        """The float network, as genq-export loads it."""
        from genq_export.config import ModelConfig
        from genq_export.models import load_model

        return load_model(ModelConfig(name=self.network)).module

    def write_logits(self, network: Callable[[torch.Tensor], Any]) -> None:
        """Run the judging images through a torch network and keep what it answers."""
        images = np.load(self.judging_file, mmap_mode="r")
        with torch.no_grad():
            answers = [np.asarray(network(torch.from_numpy(batch))) for batch in batches(images, 50)]
        np.save(self.folder / "logits.npy", np.concatenate(answers).astype(np.float32))


def batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Copies of `size` images at a time, in order."""
    for start in range(0, len(images), size):
        yield np.array(images[start : start + size])


def run(quantize: Callable[[Job], tuple[str, Callable[[], None]]]) -> None:
    """Read the job, quantize, and write what it cost.

    `quantize` returns the settings in words, and what is left to do off the clock: run the judging images.
    """
    folder = Path(sys.argv[1])
    values = json.loads((folder / "job.json").read_text())
    paths = {name: Path(values.pop(name)) for name in ("float_file", "calibration_file", "judging_file")}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job = Job(folder=folder, **paths, **values)
    started = time.process_time()
    settings, finish = quantize(job)
    seconds = time.process_time() - started
    finish()
    (folder / "facts.json").write_text(json.dumps({"seconds": seconds, "settings": settings}))
