"""Images distilled from a network: optimised until it sees in them what training left in it.

Networks with BatchNorm: images are optimised until the batch has the statistics that the BN layers remember,
`sum over layers of mean((mu(X) - mu)^2) + mean((sigma(X) - sigma)^2)`; convolutions of stride above one see their input
shifted at random by up to one pixel, so that no position is favoured (swing convolution). What is optimised:

* small images: a small generator and one latent an image (GENIE-D, Jeon et al., CVPR 2023);
* from 64 pixels on: dead leaves (`dead_leaves.py`), as spectra (`spectra.py`), mirrored and shifted at random (as in
  DeepInversion, Yin et al., CVPR 2020). There a generator costs ten times as much as the network, and what it learns in
  hundreds of steps about edges and even areas, dead leaves have from the first one.

Transformers without, after PSAQ-ViT (Li et al., ECCV 2022): pixels are optimised for high patch-similarity entropy, the
class that was asked for, and low total variation.

Ours: a sigmoid bounds the pixels, so that what is optimised is what is stored; in all cases the network should see the
class asked for (cross-entropy), which gives every image a label and the set its balance.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from calibrate.filters import patch_entropy
from calibrate.filters.attention import attention_layers
from calibrate.filters.bn_sensitivity import bn_layers
from calibrate.pixels import reject_reason, threads, to_pixels
from calibrate.prompts import Prompt
from calibrate.sources.spectra import Spectra
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.errors import UserError
from genq_export.data.dead_leaves import pictures
from genq_export.models.loaded import LoadedModel
from genq_export.network.outputs import Answer
from genq_export.tasks.task import task_of

DEFAULT_STEPS, DEFAULT_BATCH = 500, 128
LARGE = 64  # pixels a side from which images are spectra
SPECTRA_STEPS, SPECTRA_BATCH = 40, 32
LATENT, WIDTH = 256, 128
GENERATOR_LR, LATENT_LR, PIXEL_LR, SPECTRA_LR = 5e-3, 0.1, 0.1, 0.1
CLASS_WEIGHT, SPECTRA_CLASS_WEIGHT, VARIATION_WEIGHT = 0.1, 1.0, 0.05
SHIFT = 28  # a random shift is at most this part of a side


class DistilledImages:
    """What draws them (an `ImageSource`). `draw` optimises its whole batch together."""

    name = "distill"
    license = "that of the network"

    def __init__(self, model: LoadedModel, identity: str, config: CalibrateConfig, device: str) -> None:
        """Raises UserError for a network that has neither BN statistics nor attention."""
        self.model = model
        self.device = torch.device(device)
        self.method = "GENIE-D" if bn_layers(model.module) else "PSAQ-ViT"
        steps, batch_size = DEFAULT_STEPS, DEFAULT_BATCH
        if self.method == "GENIE-D" and min(model.input_size[1:]) >= LARGE:
            self.method, steps, batch_size = "spectra", SPECTRA_STEPS, SPECTRA_BATCH
        self.steps = config.steps or steps
        self._batch_size = config.batch_size or batch_size
        self._network, self._task = identity, task_of(model.task)
        if self.method == "PSAQ-ViT" and not attention_layers(model.module):
            raise UserError(
                f"{model.name} has neither BatchNorm statistics nor attention to distil images from (ONNX files come"
                " with BatchNorm folded): give --generator leaves, or a text-to-image pipeline"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Method and its settings, for report and card."""
        size, shared = self.model.input_size[1], threads(self.device.type)
        return {"method": self.method, "steps": self.steps, "size": size, "batch_size": self._batch_size, **shared}

    @property
    def batch_size(self) -> int:
        """Images optimised together: their statistics are matched together."""
        return self._batch_size

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of an image besides its label and seed."""
        versions = {"torch": version("torch"), "numpy": np.__version__}
        return {"network": self._network, **self.settings, "device": self.device.type, **versions}

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """One image for each label and seed: uint8 [B, H, W, 3] and why an image is unusable, None if it is usable."""
        labels = torch.tensor([prompt.label for prompt in prompts], device=self.device)
        network = self.model.module.to(self.device)
        cuda = [self.device] if self.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(cuda), torch.enable_grad():
                torch.manual_seed(seeds[0])
                if self.method == "spectra":
                    images = self._draw_spectra(network, labels, seeds)
                elif self.method == "GENIE-D":
                    images = self._generate(network, labels, seeds)
                else:
                    images = self._raise_entropy(network, labels, seeds)
        finally:
            network.cpu()
        images = images.float().cpu()
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return to_pixels(images), [reject_reason(image, flagged=False) for image in images]

    def _generate(self, network: nn.Module, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        generator = ImageGenerator(*self.model.input_size).to(self.device)
        latents = nn.Parameter(_noise(seeds, (LATENT,)).to(self.device))
        groups = [{"params": generator.parameters(), "lr": GENERATOR_LR}, {"params": [latents], "lr": LATENT_LR}]
        self._minimise(lambda: self._unlike(network, generator(latents), labels, CLASS_WEIGHT), groups)
        with torch.no_grad():
            images: torch.Tensor = generator(latents)
        return images

    def _draw_spectra(self, network: nn.Module, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        spectra = Spectra(_dead_leaves(seeds, self.model.input_size)).to(self.device)

        def loss() -> torch.Tensor:
            return self._unlike(network, jittered(spectra()), labels, SPECTRA_CLASS_WEIGHT)

        self._minimise(loss, [{"params": spectra.parameters(), "lr": SPECTRA_LR}])
        with torch.no_grad():
            images: torch.Tensor = spectra()
        return images

    def _unlike(
        self, network: nn.Module, images: torch.Tensor, labels: torch.Tensor, class_weight: float
    ) -> torch.Tensor:
        """How far a batch is from the statistics of the BN layers and from its classes."""
        with swinging(network), statistics_distance(network) as distances:
            answer = network(self.model.normalize_colours(images))
        return torch.stack(distances).sum() + class_weight * self._unlike_classes(answer, labels)

    def _unlike_classes(self, answer: Answer, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy of the classes that images are to show; 0 where the network tells no images apart by class."""
        logits = self._task.logits(answer) if self._task.has_logits else None
        return torch.zeros((), device=self.device) if logits is None else F.cross_entropy(logits, labels)

    def _raise_entropy(self, network: nn.Module, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        values = nn.Parameter(_noise(seeds, self.model.input_size).to(self.device))

        def loss() -> torch.Tensor:
            images = values.sigmoid()
            with patch_entropy.recording(network, len(labels)) as entropies:
                answer = network(self.model.normalize_colours(images))
            entropy = torch.stack(entropies).sum(0).mean().float()
            return self._unlike_classes(answer, labels) - entropy + VARIATION_WEIGHT * total_variation(images)

        self._minimise(loss, [{"params": [values], "lr": PIXEL_LR}])
        return values.detach().sigmoid()

    def _minimise(self, loss: Callable[[], torch.Tensor], groups: list[dict[str, Any]]) -> None:
        optimizer = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
            schedule.step()


class ImageGenerator(nn.Module):
    """Latents [B, 256] -> images [B, C, H, W] in (0, 1): a linear map to a quarter of the size, two upsamplings."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.start = (WIDTH, -(-height // 4), -(-width // 4))
        self.linear = nn.Linear(LATENT, WIDTH * self.start[1] * self.start[2])
        self.body = nn.Sequential(
            nn.BatchNorm2d(WIDTH),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.BatchNorm2d(WIDTH),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(WIDTH, WIDTH // 2, 3, padding=1),
            nn.BatchNorm2d(WIDTH // 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(WIDTH // 2, channels, 3, padding=1),
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """float [B, 256] -> float [B, C, H, W]."""
        images: torch.Tensor = self.body(self.linear(latents).view(-1, *self.start))
        return images[:, :, : self.size[0], : self.size[1]].sigmoid()


@contextmanager
def statistics_distance(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """While active, a forward pass appends each BN layer's distance to its running statistics to the list given."""
    distances: list[torch.Tensor] = []

    def measure(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        std, mean = torch.std_mean(x, dim=1, correction=0)
        running_std = (layer.running_var + layer.eps).sqrt()
        distances.append(F.mse_loss(mean, layer.running_mean) + F.mse_loss(std, running_std))

    handles = [layer.register_forward_pre_hook(measure) for layer in bn_layers(network)]
    try:
        yield distances
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def swinging(network: nn.Module) -> Iterator[None]:
    """While active, every convolution of stride above one sees its input shifted by up to a pixel, edges reflected."""

    def swing(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = inputs[0]
        height, width = x.shape[-2:]
        if min(height, width) < 2:
            return inputs
        down, right = torch.randint(0, 3, (2,)).tolist()
        return (F.pad(x, (1, 1, 1, 1), mode="reflect")[..., down : down + height, right : right + width], *inputs[1:])

    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    strided = [layer for layer in convolutions if max(layer.stride) > 1 and max(layer.kernel_size) > 1]
    handles = [layer.register_forward_pre_hook(swing) for layer in strided]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def jittered(images: torch.Tensor) -> torch.Tensor:
    """The batch [B, C, H, W] shifted round its edges by up to a 28th of a side, and mirrored every other time."""
    reach = max(1, min(images.shape[-2:]) // SHIFT)
    down, right = torch.randint(-reach, reach + 1, (2,)).tolist()
    shifted = images.roll((down, right), (2, 3))
    return shifted.flip(3) if float(torch.rand(())) < 0.5 else shifted


def total_variation(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring pixels, float [B, C, H, W] -> scalar."""
    return (images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()) / 2


def _dead_leaves(seeds: Sequence[int], shape: tuple[int, int, int]) -> torch.Tensor:
    """Dead leaves [len(seeds), *shape] in [0, 1], each image's from its own seed."""
    channels, height, width = shape
    images = torch.from_numpy(pictures(height, width, seeds)).permute(0, 3, 1, 2).float() / 255
    return images if channels == images.shape[1] else images.mean(1, keepdim=True).expand(-1, channels, -1, -1)


def _noise(seeds: Sequence[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Normal noise [len(seeds), *shape], each image's from its own seed."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
