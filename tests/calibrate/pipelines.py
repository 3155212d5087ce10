"""Pipelines of the real classes, tiny and with random weights."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from calibrate.generators import find_generator
from calibrate.prompts import Prompt
from calibrate.sources.diffusers_images import DiffusersImages, load_diffusers_images
from genq_export.config.build import BuildConfig
from tools.train_zoo.captions import vocabulary
from tools.train_zoo.text import MAX_LENGTH, build_tokenizer

WIDTH = 16
NOISE = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear"}


def text_config(tokenizer: Any) -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=MAX_LENGTH, projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def autoencoder(levels: int = 2) -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels, norm_num_groups=4, latent_channels=4, sample_size=16,
    )  # fmt: skip


def unet(context: int, **more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=8, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,), layers_per_block=1, cross_attention_dim=context, attention_head_dim=2,
        norm_num_groups=4, **more,
    )  # fmt: skip


def stable_diffusion(scheduler: Any) -> Any:
    tokenizer = build_tokenizer(vocabulary())
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=transformers.CLIPTextModel(text_config(tokenizer)), tokenizer=tokenizer,
        unet=unet(WIDTH), scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def stable_diffusion_2_1(prediction: str = "v_prediction") -> Any:
    return stable_diffusion(
        diffusers.DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type=prediction, **NOISE)
    )


def turbo() -> Any:
    return stable_diffusion(diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", **NOISE))


def stable_diffusion_xl() -> Any:
    """Two tokenizers, two text encoders, and conditions on size and crop beside the text."""
    first, second = build_tokenizer(vocabulary()), build_tokenizer(vocabulary())
    times = 8
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(), tokenizer=first, tokenizer_2=second,
        text_encoder=transformers.CLIPTextModel(text_config(first)),
        text_encoder_2=transformers.CLIPTextModelWithProjection(text_config(second)),
        unet=unet(
            2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=times,
            projection_class_embeddings_input_dim=WIDTH + 6 * times,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(steps_offset=1, **NOISE),
    )  # fmt: skip


def pixart() -> Any:
    """Not of the Stable Diffusion family: a transformer instead of a UNet, T5 instead of CLIP; 256 pixels a side."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in vocabulary()), *"abcdefghijklmnopqrstuvwxyz-,."]
    tokenizer = transformers.T5Tokenizer(vocab=[(piece, -1.0) for piece in dict.fromkeys(pieces)], extra_ids=0)
    text = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2
    )
    return diffusers.PixArtAlphaPipeline(
        tokenizer=tokenizer, text_encoder=transformers.T5EncoderModel(text), vae=autoencoder(levels=4),
        transformer=diffusers.PixArtTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
            cross_attention_dim=16, sample_size=32, patch_size=2, caption_channels=WIDTH,
            use_additional_conditions=False,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(**NOISE),
    )  # fmt: skip


def saved(make: Callable[..., Any], folder: Path, *arguments: str) -> Path:
    torch.manual_seed(0)
    make(*arguments).save_pretrained(folder)
    return folder


def of_class(kind: str, like: Callable[..., Any] = stable_diffusion_2_1) -> Any:
    """A pipeline of a class that takes the parts of another."""
    return getattr(diffusers, kind)(**like().components, requires_safety_checker=False)


def only_in(variant: str, folder: Path, *parts: str) -> Path:
    """Give the weights of some parts of a saved pipeline the name of a variant."""
    for part in parts:
        for file in (folder / part).glob("*.safetensors"):
            file.rename(file.with_suffix(f".{variant}.safetensors"))
    return folder


def remedy(said: str) -> list[str]:
    """The Python command between the backticks of a message, for this Python."""
    (command,) = [text for text in re.findall(r"`([^`]+)`", said) if text.startswith("python")]
    return [sys.executable, *shlex.split(command)[1:]]


def censored() -> Any:
    """Stable Diffusion with a safety checker that takes everything for offensive."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "patch_size": 32, "image_size": 224}
    checker = StableDiffusionSafetyChecker(transformers.CLIPConfig(vision_config=vision, projection_dim=16))
    checker.concept_embeds_weights.fill_(-2)
    parts = {"safety_checker": checker, "feature_extractor": transformers.CLIPImageProcessor()}
    return diffusers.StableDiffusionPipeline(**{**stable_diffusion_2_1("epsilon").components, **parts})


def checkpoint_weights(pipeline: Any) -> dict[str, torch.Tensor]:
    """The weights of a Stable Diffusion pipeline under the names that single-file checkpoints have for them."""
    weights = {f"model.diffusion_model.{_unet_name(name)}": part for name, part in pipeline.unet.state_dict().items()}
    for name, part in pipeline.vae.state_dict().items():
        new = f"first_stage_model.{_vae_name(name)}"
        weights[new] = part[:, :, None, None] if re.search(r"attn_1\.(q|k|v|proj_out)\.weight", new) else part
    for name, part in pipeline.text_encoder.state_dict().items():
        weights[f"cond_stage_model.transformer.{'' if name.startswith('text_model') else 'text_model.'}{name}"] = part
    return {name: part.contiguous().clone() for name, part in weights.items()}


def _unet_name(name: str) -> str:
    """Of a UNet with one level of one layer."""
    layer = r"(\d\.0|middle_block\.\d)"
    return _renamed(
        name,
        (r"^conv_in", "input_blocks.0.0"),
        (r"^down_blocks\.0\.resnets\.0", "input_blocks.1.0"),
        (r"^down_blocks\.0\.attentions\.0", "input_blocks.1.1"),
        (r"^mid_block\.resnets\.0", "middle_block.0"),
        (r"^mid_block\.attentions\.0", "middle_block.1"),
        (r"^mid_block\.resnets\.1", "middle_block.2"),
        (r"^up_blocks\.0\.resnets\.(\d)", r"output_blocks.\1.0"),
        (r"^up_blocks\.0\.attentions\.(\d)", r"output_blocks.\1.1"),
        (r"^conv_norm_out", "out.0"),
        (r"^conv_out", "out.2"),
        (r"^time_embedding\.linear_1", "time_embed.0"),
        (r"^time_embedding\.linear_2", "time_embed.2"),
        (rf"{layer}\.norm1", r"\1.in_layers.0"),
        (rf"{layer}\.conv1", r"\1.in_layers.2"),
        (rf"{layer}\.norm2", r"\1.out_layers.0"),
        (rf"{layer}\.conv2", r"\1.out_layers.3"),
        (r"\.time_emb_proj", ".emb_layers.1"),
        (r"\.conv_shortcut", ".skip_connection"),
    )


def _vae_name(name: str) -> str:
    """Of an autoencoder with two levels."""
    return _renamed(
        name,
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.0\.resnets\.(\d)", r"up.1.block.\1"),
        (r"up_blocks\.1\.resnets\.(\d)", r"up.0.block.\1"),
        (r"up_blocks\.0\.upsamplers\.0", "up.1.upsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_(\w)", r"mid.attn_1.\1"),
        (r"conv_norm_out", "norm_out"),
        (r"conv_shortcut", "nin_shortcut"),
    )


def _renamed(name: str, *rules: tuple[str, str]) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


PROMPTS = [Prompt("a photo of a bag", 0), Prompt("a photo of a dress", 1)]


def config_of(generator: Path | str, **options: Any) -> BuildConfig:
    return BuildConfig.for_model("fashion_resnet", generator=str(generator), steps=1, **options)


def opened(generator: Path | str, said: list[str] | None = None, **options: Any) -> DiffusersImages:
    config = config_of(generator, **options)
    lines = [] if said is None else said
    return load_diffusers_images(find_generator(config), config.calibrate, "cpu", lines.append)


def drawn(images: DiffusersImages) -> np.ndarray:
    return images.draw(PROMPTS, [1, 2])[0]
