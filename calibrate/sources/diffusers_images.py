"""Draw images with a diffusers text-to-image pipeline, each from a seed of its own."""

import hashlib
import inspect
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from calibrate.generators import Generator
from calibrate.pixels import reject_reason, threads, to_pixels
from calibrate.prompts import Prompt
from calibrate.style import set_embedding
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.errors import UserError

GENQ_GUIDANCE = 3.5
# Steps after which more of them stop helping, by kind of solver; the kinds diffusers ships, first match counts.
_STEPS = {"LCM": 4, "TCD": 4, "DPMSolver": 20, "UniPC": 20, "DEIS": 20, "Heun": 20, "Flow": 28, "Euler": 30}
_OTHER_STEPS = 50  # DDIM, PNDM, DDPM, LMS
_SMALL_LATENTS, _SMALL_STEPS = 16, 14  # a side; few latents converge in fewer steps of a fast solver
_PIXELS_TOGETHER = 16 * 512 * 512  # a batch that fits 8 GB in half precision at twice the batch for guidance


@dataclass(frozen=True)
class Sampler:
    """The settings that, with prompt and seed, decide an image."""

    steps: int
    guidance: float
    size: int
    batch_size: int
    dtype: str
    device: str


class DiffusersImages:
    """A loaded pipeline with its sampler settings (an `ImageSource`)."""

    def __init__(self, pipeline: Any, generator: Generator, config: CalibrateConfig, device: str) -> None:
        self.pipeline = pipeline
        self.generator = generator
        self.style: str | None = None
        size = config.size or default_size(pipeline)
        self.sampler = Sampler(
            steps=config.steps or default_steps(pipeline),
            guidance=default_guidance(pipeline) if config.guidance is None else config.guidance,
            size=size,
            batch_size=config.batch_size or default_batch_size(size),
            dtype=str(pipeline.dtype).removeprefix("torch."),
            device=torch.device(device).type,
        )
        vae = getattr(pipeline, "vae", None)
        if vae is not None and hasattr(vae, "enable_slicing") and size >= 256:
            vae.enable_slicing()  # decoding is where memory peaks; small images are decoded together
        for part in (vae, getattr(pipeline, "unet", None)):
            if part is not None:
                part.to(memory_format=torch.channels_last)  # a tenth faster on CPUs, more in half precision

    @property
    def name(self) -> str:
        """The pipeline's name as given."""
        return self.generator.name

    @property
    def license(self) -> str:
        """The licence of the pipeline."""
        return self.generator.license

    @property
    def settings(self) -> dict[str, Any]:
        """Sampler settings, for report and card."""
        scheduler = type(self.pipeline.scheduler).__name__
        return {"scheduler": scheduler, **asdict(self.sampler), **threads(self.sampler.device)}

    @property
    def batch_size(self) -> int:
        """Images drawn together."""
        return self.sampler.batch_size

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of an image besides its prompt and seed."""
        versions = {name: version(name) for name in ("torch", "diffusers", "transformers")}
        return {"generator": self.generator.identity, "style": self.style, **self.settings, **versions}

    def use_style(self, embedding: torch.Tensor) -> None:
        """Give the pipeline a learned style token, float [width], which prompts then may contain."""
        set_embedding(self.pipeline, embedding)
        self.style = hashlib.sha256(embedding.float().numpy().tobytes()).hexdigest()

    def letters_per_token(self, text: str) -> float:
        """How well the tokenizer knows the worst word of `text`: letters by token, 0 for a word it cannot read.

        A byte-level tokenizer can spell anything, but a word it spells letter by letter (1.0) means nothing to it.
        """
        tokenizer = self.pipeline.tokenizer
        worst = float("inf")
        for word in re.findall(r"[^\W\d_]{3,}", text.lower()):
            ids = tokenizer(word, add_special_tokens=False).input_ids
            worst = min(worst, len(word) / len(ids) if ids and tokenizer.unk_token_id not in ids else 0.0)
        return worst

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """One image for each prompt and seed.

        Returns pixels uint8 [B, H, W, 3] and for each image why it is unusable, None if it is usable. The bytes
        depend on the whole list: floating-point sums change with the batch.
        """
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]  # the CPU's: same noise on any device
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            result = self.pipeline(
                prompt=[prompt.text for prompt in prompts],
                generator=generators,
                num_inference_steps=self.sampler.steps,
                guidance_scale=self.sampler.guidance,
                height=self.sampler.size,
                width=self.sampler.size,
                output_type="pt",
            )
        images = result.images.float().cpu()
        flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(images)
        return to_pixels(images), [reject_reason(*pair) for pair in zip(images, flagged, strict=True)]


def load_diffusers_images(generator: Generator, config: CalibrateConfig, device: str) -> DiffusersImages:
    """Load a pipeline: float32 on the CPU, float16 on an accelerator.

    Raises UserError where it is no pipeline, not whole, or cannot be fetched.
    """
    _quieten()
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    source = generator.name if generator.folder is None else str(generator.folder)
    try:
        pipeline: Any = DiffusionPipeline.from_pretrained(source, dtype=dtype)
        pipeline.to(device)
    except Exception as error:  # the libraries raise their own, urllib's and the operating system's
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        way_out = "give a local one with --generator DIR"
        if generator.folder is None:
            way_out += f" (`hf download {generator.name} --local-dir DIR` on a machine with network)"
        raise UserError(f"cannot load generator {source}: {reason}; {way_out}") from None
    if not hasattr(pipeline, "tokenizer") or not hasattr(pipeline, "scheduler"):
        raise UserError(f"generator {source} ({type(pipeline).__name__}) is not a text-to-image pipeline")
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersImages(pipeline, generator, config, device)


def default_steps(pipeline: Any) -> int:
    """Sampler steps that suit the scheduler the pipeline was saved with; one for the Turbo models."""
    if is_turbo(pipeline):
        return 1
    name = type(pipeline.scheduler).__name__
    steps = next((steps for kind, steps in _STEPS.items() if kind in name), _OTHER_STEPS)
    small = default_size(pipeline) <= _SMALL_LATENTS * getattr(pipeline, "vae_scale_factor", 8)
    return min(steps, _SMALL_STEPS) if small and name.startswith("DPMSolver") else steps


def default_guidance(pipeline: Any) -> float:
    """3.5 as in GenQ for Stable Diffusion 1 and 2, none for models distilled to need none, else the pipeline's own."""
    if is_turbo(pipeline):
        return 0.0
    own = inspect.signature(type(pipeline).__call__).parameters.get("guidance_scale")
    return GENQ_GUIDANCE if own is None or type(pipeline).__name__ == "StableDiffusionPipeline" else float(own.default)


def is_turbo(pipeline: Any) -> bool:
    """SD-Turbo and SDXL-Turbo: Euler schedulers that start from the last training step."""
    scheduler = pipeline.scheduler
    return "Euler" in type(scheduler).__name__ and scheduler.config.get("timestep_spacing") == "trailing"


def default_size(pipeline: Any) -> int:
    """Pixels a side that the pipeline was trained for."""
    core = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    latents = getattr(getattr(core, "config", None), "sample_size", None)
    side = latents[0] if isinstance(latents, list | tuple) else latents
    return int(side) * int(getattr(pipeline, "vae_scale_factor", 8)) if side else 512


def default_batch_size(size: int) -> int:
    """A power of two by image size alone, so that the same config draws the same batches on every machine."""
    return 1 << (max(1, min(64, _PIXELS_TOGETHER // (size * size))).bit_length() - 1)


def _quieten() -> None:
    """The libraries warn about what the stage handles itself (prompt length, a missing safety checker)."""
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
