"""A tiny text-to-image pipeline with random weights, and tiny networks, so that the stage runs in a second."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from genq_export.config.build import BuildConfig
from genq_export.models.loaded import LoadedModel
from tests.calibrate.pipelines import saved, stable_diffusion_2_1

torch.set_num_threads(1)  # networks this small only lose by sharing their work

CLASS_NAMES = ("shoe", "bag", "ankle boot")
WORDS = ("a", "an", "photo", "of", "and", "in", "the", "style", "small", "good", "shoe", "bag", "ankle", "boot")


def build_pipeline(folder: Path, seed: int = 0) -> Path:
    """Save a StableDiffusionPipeline that draws 16x16 images of noise."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    ends = ("<|startoftext|>", "<|endoftext|>")
    letters = "abcdefghijklmnopqrstuvwxyz-,"
    merges: list[tuple[str, str]] = []
    symbols = [*letters, *(letter + "</w>" for letter in letters)]
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[-2], parts[-1])
            if pair not in merges:
                merges.append(pair)
                symbols.append("".join(pair))
            parts[-2:] = ["".join(pair)]
    vocabulary = {symbol: number for number, symbol in enumerate([*dict.fromkeys(symbols), *ends])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=32)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, projection_dim=16, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, sample_size=16,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
            block_out_channels=(8,), layers_per_block=1, cross_attention_dim=16, attention_head_dim=2,
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pipeline(tmp_path_factory.mktemp("generators") / "tiny_sd")


class _ConvNet(nn.Module):
    num_classes = len(CLASS_NAMES)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(8, self.num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x).mean((2, 3)))
        return logits


def loaded(module: nn.Module, name: str = "tiny") -> LoadedModel:
    """A network of 16x16 images as the stage gets it."""
    return LoadedModel(
        name=name, module=module.eval().requires_grad_(False), input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3,
        crop_pct=1.0, interpolation="bilinear", class_names=CLASS_NAMES, classes=len(CLASS_NAMES),
    )  # fmt: skip


@pytest.fixture
def convnet() -> LoadedModel:
    return seeded_convnet()


def seeded_convnet() -> LoadedModel:
    """A small network with BatchNorm, the same every time."""
    torch.manual_seed(1)
    module = _ConvNet()
    module.train()
    with torch.no_grad():
        for _ in range(30):
            module(torch.rand(64, 3, 16, 16) * 2 - 1)
    return loaded(module)


@pytest.fixture
def make_config(pipeline_folder: Path) -> Callable[..., BuildConfig]:
    """A build config of the tiny pipeline; keyword arguments change `calibrate`."""

    def make(**calibrate: object) -> BuildConfig:
        settings = {"generator": str(pipeline_folder), "images": 9, "steps": 2, "batch_size": 4} | calibrate
        return BuildConfig.parse({"model": {"name": "tiny"}, "calibrate": settings, "quantize": QUANTIZE})

    return make


QUANTIZE = {"weight_bits": 4, "activation_bits": 4}


def read_lines(path: Path) -> list[dict[str, object]]:
    """The rows of a jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(stable_diffusion_2_1, tmp_path_factory.mktemp("stable") / "tiny")
