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
    """One network to quantize. float_file: its ONNX file; judging: float32 images [N, C, H, W]."""

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
    def input_name(self) -> str:
        """Of the float file."""
        import onnx

        return onnx.load(self.float_file, load_external_data=False).graph.input[0].name

    @property
    def model_file(self) -> Path:
        """Where the quantized ONNX file goes."""
        return self.folder / "model.onnx"

    def module(self) -> nn.Module:
        """The float network as genq-export loads it, of plain layers.

        timm's BN with an activation inside becomes BN and activation, and its convolution that pads by the size of its
        input (TensorFlow's SAME) becomes padding and convolution: the tools neither fold the one nor trace the other.
        """
        from genq_export.config.model import ModelConfig
        from genq_export.models.source import load_model

        loaded = load_model(ModelConfig(name=self.network))
        if self.settings.get("as_it_is"):
            return loaded.module
        return of_plain_layers(loaded.module, torch.zeros(1, *loaded.input_size))

    def write_logits(self, network: Callable[[torch.Tensor], Any]) -> None:
        """Run the judging images through a torch network and keep what it answers."""
        images = np.load(self.judging_file, mmap_mode="r")
        with torch.no_grad():
            answers = [np.asarray(network(torch.from_numpy(batch))) for batch in batches(images, 50)]
        np.save(self.folder / "logits.npy", np.concatenate(answers).astype(np.float32))


def of_plain_layers(module: nn.Module, image: torch.Tensor) -> nn.Module:
    """A network that computes the same on images of this size. Raises ValueError where it does not."""
    from timm.layers import BatchNormAct2d, Conv2dSame

    expected = module(image)
    sizes: dict[nn.Module, tuple[int, int]] = {}
    same = [layer for layer in module.modules() if isinstance(layer, Conv2dSame)]
    hooks = [layer.register_forward_hook(lambda layer, x, _: sizes.update({layer: x[0].shape[-2:]})) for layer in same]
    module(image)
    for hook in hooks:
        hook.remove()
    for name, layer in list(module.named_modules()):
        if hasattr(layer, "fused_attn"):
            layer.fused_attn = False  # attention in its parts: MCT cannot take the fused operator apart
        if isinstance(layer, BatchNormAct2d):
            norm = nn.BatchNorm2d(layer.num_features, eps=layer.eps)
            norm.load_state_dict(layer.state_dict())
            module.set_submodule(name, nn.Sequential(norm, layer.act).eval())
        elif isinstance(layer, Conv2dSame):
            module.set_submodule(name, nn.Sequential(_padding(layer, sizes[layer]), _plain(layer)).eval())
    if not torch.allclose(module(image), expected, atol=1e-4):
        raise ValueError("the network of plain layers does not answer as the network does")
    return module.requires_grad_(True)


def _padding(layer: nn.Conv2d, size: tuple[int, int]) -> nn.ZeroPad2d:
    pads = []
    for length, kernel, stride in reversed(list(zip(size, layer.kernel_size, layer.stride, strict=True))):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        pads += [total // 2, total - total // 2]
    return nn.ZeroPad2d(tuple(pads))


def _plain(layer: nn.Conv2d) -> nn.Conv2d:
    made = nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, groups=layer.groups,
        bias=layer.bias is not None,
    )  # fmt: skip
    made.load_state_dict(layer.state_dict())
    return made


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
