"""Kinds of text-to-image pipelines, tiny and with random weights, drawn from as the command line does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from calibrate.generators import image_size
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows
from genq_export.pipeline.build import run_stages
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


def draw(generator: Path, folder: Path, *settings: str, **more: Any) -> Path:
    """What `genq-export calibrate fashion_resnet --generator DIR` does; returns the build folder."""
    config = BuildConfig.for_model(
        "fashion_resnet", generator=str(generator), images=10, settings=("calibrate.distribution_keep=1", *settings),
        **more,
    )  # fmt: skip
    assert run_stages(config, folder, ("calibrate",), Progress(quiet=True)) == ("calibrate",)
    return folder


@pytest.mark.parametrize(
    ("make", "scheduler", "steps", "guidance", "size"),
    [
        (stable_diffusion_2_1, "DDIMScheduler", 50, 3.5, 16),
        (turbo, "EulerDiscreteScheduler", 1, 0.0, 16),
        (stable_diffusion_xl, "EulerDiscreteScheduler", 30, 5.0, 16),
        (pixart, "DPMSolverMultistepScheduler", 20, 4.5, 256),
    ],
)
def test_a_pipeline_draws_with_its_own_defaults(
    make: Callable[..., Any], scheduler: str, steps: int, guidance: float, size: int, tmp_path: Path
) -> None:
    generator = saved(make, tmp_path / "generator")
    assert image_size(BuildConfig.for_model("fashion_resnet"), generator) == size
    folder = draw(generator, tmp_path / "build")
    sampler = Workspace.existing(folder).summary("calibrate")["sampler"]
    assert (sampler["scheduler"], sampler["steps"], sampler["guidance"]) == (scheduler, steps, guidance)
    assert (sampler["size"], sampler["dtype"]) == (size, "float32")
    rows = read_rows(folder / "calibration")
    assert sum(row.kept for row in rows) == 10
    pictures = [np.asarray(Image.open(folder / "calibration" / row.file_name)) for row in rows if row.kept]
    assert all(picture.shape == (size, size, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 10


def test_velocity_is_not_taken_for_noise(tmp_path: Path) -> None:
    few = "calibrate.steps=3"
    folders = [
        draw(saved(stable_diffusion_2_1, tmp_path / name, name), tmp_path / f"build-{name}", few)
        for name in ("v_prediction", "epsilon")
    ]
    first, second = (np.asarray(Image.open(folder / "calibration/images/000000.png")) for folder in folders)
    assert not np.array_equal(first, second)


def test_a_style_token_is_learned_where_velocity_is_predicted(tmp_path: Path) -> None:
    (tmp_path / "real" / "bag").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "real" / "bag" / "0.png")
    generator = saved(stable_diffusion_2_1, tmp_path / "generator")
    settings = ("calibrate.steps=2", "calibrate.inversion_steps=2")
    folder = draw(generator, tmp_path / "build", *settings, real=tmp_path / "real")
    assert (folder / "calibration" / "style.safetensors").is_file()


def test_a_style_token_is_refused_where_there_are_two_text_encoders(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "real" / "0.png")
    generator = saved(stable_diffusion_xl, tmp_path / "generator")
    with pytest.raises(UserError, match=r"one text encoder and a UNet .* not StableDiffusionXLPipeline"):
        draw(generator, tmp_path / "build", real=tmp_path / "real")
    assert not (tmp_path / "build").exists()
