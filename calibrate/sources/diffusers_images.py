"""Draw images with a diffusers text-to-image pipeline, each from a seed of its own."""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from calibrate.generators import Generator
from calibrate.lora import Lora, find_loras
from calibrate.pipeline_files import components, variant_of
from calibrate.pixels import reject_reason, threads, to_pixels
from calibrate.prompts import Prompt
from calibrate.sources.load_pipeline import load_pipeline
from calibrate.style import set_embedding
from calibrate.token_limit import beyond_table
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.errors import UserError, reason_of

GENQ_GUIDANCE = 3.5
# Steps after which more of them stop helping, by kind of solver; the kinds diffusers ships, first match counts.
_STEPS = {"LCM": 4, "TCD": 4, "DPMSolver": 20, "UniPC": 20, "DEIS": 20, "Heun": 20, "Flow": 28, "Euler": 30}
_OTHER_STEPS = 50  # DDIM, PNDM, DDPM, LMS
_SMALL_LATENTS, _SMALL_STEPS = 16, 14  # a side; few latents converge in fewer steps of a fast solver
_TURBO = re.compile(r"(?<![a-z])turbo(?![a-z])", re.I)
_TURBO_STEPS = {"StableDiffusionPipeline": 1, "StableDiffusionXLPipeline": 1}
_OTHER_TURBO_STEPS = 8  # Stable Diffusion 3.5, Z-Image
_FOREIGN_TOKENIZER = (
    "its tokenizer knows more tokens than its text encoder, so they are of two models: give the pipeline as it was"
    " published, or another --generator"
)
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

    def __init__(
        self,
        pipeline: Any,
        generator: Generator,
        config: CalibrateConfig,
        device: str,
        loras: tuple[Lora, ...] = (),
    ) -> None:
        self.pipeline = pipeline
        self.generator = generator
        self.loras = loras
        self.style: str | None = None
        size = config.size or default_size(pipeline)
        turbo = is_turbo(generator)
        self.sampler = Sampler(
            steps=config.steps or default_steps(pipeline, turbo),
            guidance=default_guidance(pipeline, turbo) if config.guidance is None else config.guidance,
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
        loras = {"lora": ", ".join(f"{lora.name} at {lora.weight:g}" for lora in self.loras)} if self.loras else {}
        return {"scheduler": scheduler, **asdict(self.sampler), **loras, **threads(self.sampler.device)}

    @property
    def batch_size(self) -> int:
        """Images drawn together."""
        return self.sampler.batch_size

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of an image besides its prompt and seed."""
        versions = {name: version(name) for name in ("torch", "diffusers", "transformers")}
        loras = [lora.identity for lora in self.loras]
        return {"generator": self.generator.identity, "style": self.style, "loras": loras, **self.settings, **versions}

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
        beyond = beyond_table(self.pipeline, [prompt.text for prompt in prompts])
        if beyond is not None:
            raise UserError(f"generator {self.name} cannot read '{beyond}': {_FOREIGN_TOKENIZER}")
        try:
            result = self._result(prompts, seeds)
        except Exception as error:  # pipelines raise whatever their parts do
            raise UserError(self._failed(error, len(prompts))) from None
        images = result.images.float().cpu()
        flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(images)
        return to_pixels(images), [reject_reason(*pair) for pair in zip(images, flagged, strict=True)]

    def _result(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Any:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]  # the CPU's: same noise on any device
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            return self.pipeline(
                prompt=[prompt.text for prompt in prompts],
                generator=generators,
                num_inference_steps=self.sampler.steps,
                guidance_scale=self.sampler.guidance,
                height=self.sampler.size,
                width=self.sampler.size,
                output_type="pt",
            )

    def _failed(self, error: Exception, images: int) -> str:
        """Why the pipeline could not draw a batch, and what else to try."""
        told = self.sampler
        work = f"{images} images of {told.size} pixels in {told.steps} steps at guidance {told.guidance:g}"
        remedy = "try another --draw-size, --steps or --guidance, or another --generator"
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error):
            fewer = f"--set calibrate.batch_size={images // 2}" if images > 1 else "another --generator"
            remedy = f"draw fewer at once with {fewer}, or smaller ones with --draw-size"
        return f"generator {self.name} cannot draw {work}: {reason_of(error)}; {remedy}"


def load_diffusers_images(
    generator: Generator, config: CalibrateConfig, device: str, say: Callable[[str], object] = lambda _: None
) -> DiffusersImages:
    """Load a pipeline: float32 on the CPU, float16 on an accelerator.

    Args:
        generator: where it is.
        config: what it is told.
        device: where it computes.
        say: takes lines on what was decided for the user.

    Raises:
        UserError: where it is no pipeline, not whole, or cannot be fetched.
    """
    loras = find_loras(config.lora)
    pipeline, here = load_pipeline(generator, loras, device)
    images = DiffusersImages(pipeline, here, config, device, loras)
    for line in decisions(here, pipeline, config, images.sampler):
        say(line)
    return images


def decisions(generator: Generator, pipeline: Any, config: CalibrateConfig, sampler: Sampler) -> Iterator[str]:
    """What a user may want to know of how the pipeline is read, a line each."""
    assert generator.folder is not None
    if generator.checkpoint is not None:
        yield f"the parts of {generator.place} are those of {generator.hub or generator.folder}"
    else:
        variant = variant_of(generator.folder, components(generator.folder, generator.index))
        if variant is not None:
            yield f"weights of the variant {variant} are used where there are none without one"
    if config.steps is None or config.guidance is None:
        told = f"{sampler.steps} steps, guidance {sampler.guidance:g} (--steps, --guidance)"
        if is_turbo(generator):
            yield f"{generator.name} is taken for a Turbo model by its name: {told}"
        elif pipeline.scheduler.config.get("timestep_spacing") == "trailing":
            yield (
                f"the sampler starts from the last training step, as distilled models do, and the name says nothing of"
                f" Turbo: {told}; a distilled model wants few steps and guidance 0 or 1"
            )


def default_steps(pipeline: Any, turbo: bool = False) -> int:
    """Sampler steps that suit the scheduler the pipeline was saved with; few for the Turbo models."""
    if turbo:
        return _TURBO_STEPS.get(type(pipeline).__name__, _OTHER_TURBO_STEPS)
    name = type(pipeline.scheduler).__name__
    steps = next((steps for kind, steps in _STEPS.items() if kind in name), _OTHER_STEPS)
    small = default_size(pipeline) <= _SMALL_LATENTS * getattr(pipeline, "vae_scale_factor", 8)
    return min(steps, _SMALL_STEPS) if small and name.startswith("DPMSolver") else steps


def default_guidance(pipeline: Any, turbo: bool = False) -> float:
    """3.5 as in GenQ for Stable Diffusion 1 and 2, none for models distilled to need none, else the pipeline's own."""
    if turbo:
        return 0.0
    own = inspect.signature(type(pipeline).__call__).parameters.get("guidance_scale")
    return GENQ_GUIDANCE if own is None or type(pipeline).__name__ == "StableDiffusionPipeline" else float(own.default)


def is_turbo(generator: Generator) -> bool:
    """Is "turbo" a word of the pipeline's name, as given or as its index notes it?

    Its scheduler does not tell: SDXL-Lightning and models of zero terminal SNR share that of Turbo.
    """
    names = (generator.name, generator.index.get("_name_or_path"))
    return any(isinstance(name, str) and _TURBO.search(name) for name in names)


def default_size(pipeline: Any) -> int:
    """Pixels a side that the pipeline was trained for."""
    core = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    latents = getattr(getattr(core, "config", None), "sample_size", None)
    side = latents[0] if isinstance(latents, list | tuple) else latents
    return int(side) * int(getattr(pipeline, "vae_scale_factor", 8)) if side else 512


def default_batch_size(size: int) -> int:
    """A power of two by image size alone, so that the same config draws the same batches on every machine."""
    return 1 << (max(1, min(64, _PIXELS_TOGETHER // (size * size))).bit_length() - 1)
