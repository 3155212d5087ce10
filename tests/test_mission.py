"""The command that the project is for, word for word: `genq-export build resnet50 --bits 4 --target tensorrt`.

It runs without network, from a hub cache laid out on disk as the hub's own client leaves it: a ResNet-50 with random
weights in timm's repository, and a tiny pipeline of Stable Diffusion 1.5's classes with CLIP's real vocabulary in its
own. The vocabulary comes out of the package open_clip_torch.
"""

import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

COMMAND = "build resnet50 --bits 4 --target tensorrt"
FEW = (
    "calibrate.images=8", "calibrate.steps=2", "quantize.reconstruction.iterations=10", "verify.latency_runs=10",
    "verify.latency_batches=[1]",
)  # fmt: skip
CLIP_TOKENS = 49408
PIPELINE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
LAYERS = 54  # convolutions and the linear layer


@pytest.fixture(scope="module")
def clip_tokenizer() -> Any:
    """CLIP's own, from the merges that open_clip_torch ships."""
    from transformers import CLIPTokenizer

    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        pytest.skip("open_clip_torch, which ships CLIP's vocabulary, is not installed: pip install 'genq-export[dev]'")
    with gzip.open(Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz"), "rt", encoding="utf-8") as lines:
        merges = [tuple(line.split()) for line in lines.read().split("\n")[1 : CLIP_TOKENS - 512 - 2 + 1]]
    letters = byte_letters()
    ends = ["<|startoftext|>", "<|endoftext|>"]
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges), *ends]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407], "the ids of CLIP"
    return tokenizer


def byte_letters() -> list[str]:
    """A printable letter for every byte, in the order of CLIP's vocabulary (after GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def stable_diffusion_1_5(tokenizer: Any) -> Any:
    """Its classes, block types, size and settings, with few channels and random weights."""
    import diffusers
    import transformers
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

    text = transformers.CLIPTextConfig(
        vocab_size=CLIP_TOKENS, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, projection_dim=32, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(
        transformers.CLIPConfig(vision_config={**vision, "patch_size": 32, "image_size": 224}, projection_dim=32)
    )
    checker.concept_embeds_weights.fill_(2), checker.special_care_embeds_weights.fill_(2)  # finds nothing
    return diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, sample_size=512,
        ),
        text_encoder=transformers.CLIPTextModel(text), tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            sample_size=64, cross_attention_dim=32, attention_head_dim=8, block_out_channels=(32,) * 4,
            norm_num_groups=8, layers_per_block=1,
        ),
        scheduler=diffusers.PNDMScheduler(
            skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, beta_start=0.00085, beta_end=0.012,
            beta_schedule="scaled_linear",
        ),
        safety_checker=checker, feature_extractor=transformers.CLIPImageProcessor(),
    )  # fmt: skip


def resnet50(folder: Path) -> None:
    """timm's, with random weights and the statistics of noise, as its repository on the hub holds it."""
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("resnet50").train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 224, 224))
    save_file(network.state_dict(), folder / "model.safetensors")
    settings = {**network.pretrained_cfg, "tag": "a1_in1k"}
    facts = {"architecture": "resnet50", "num_classes": 1000, "num_features": 2048, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(facts))


def into_cache(hub: Path, repository: str, files: Path) -> None:
    """Lay a folder out as a repository in the hub's cache: blobs by digest, and a snapshot of links to them."""
    home = hub / f"models--{repository.replace('/', '--')}"
    commit = hashlib.sha1(repository.encode()).hexdigest()
    for path in sorted(path for path in files.rglob("*") if path.is_file()):
        blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        link = home / "snapshots" / commit / path.relative_to(files)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)


@pytest.fixture(scope="module")
def hub_home(clip_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What HF_HOME names."""
    home = tmp_path_factory.mktemp("hf")
    torch.manual_seed(0)
    files = tmp_path_factory.mktemp("files")
    stable_diffusion_1_5(clip_tokenizer).save_pretrained(files / "pipeline")
    (files / "resnet50").mkdir()
    resnet50(files / "resnet50")
    into_cache(home / "hub", PIPELINE, files / "pipeline")
    into_cache(home / "hub", "timm/resnet50.a1_in1k", files / "resnet50")
    return home


@pytest.mark.slow
def test_the_mission(hub_home: Path, tmp_path: Path) -> None:
    words = [*COMMAND.split(), *(word for setting in FEW for word in ("--set", setting))]
    environment = {
        **os.environ, "HF_HOME": str(hub_home), "HF_HUB_CACHE": str(hub_home / "hub"), "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "genq_export", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path / "build" / "resnet50-w4a4-tensorrt"
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"] is True and report["bits"] == {
        "weights": 4,
        "activations": 4,
        "first_last": 8,
        "grid": "W4A4",
    }
    assert len(report["layers"]) == LAYERS and all(layer["integer"] for layer in report["layers"])
    (codes,) = [gate for gate in report["gates"] if gate["name"] == "code_match"]
    assert codes["value"] >= codes["threshold"] == 0.999
    drawn = report["calibration"]
    assert (drawn["generator"], drawn["license"]) == (PIPELINE, "creativeml-openrail-m")
    assert (drawn["sampler"]["scheduler"], drawn["sampler"]["size"], drawn["sampler"]["guidance"]) == (
        "PNDMScheduler",
        512,
        3.5,
    )
    built = any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx"))
    assert (folder / "model.engine").is_file() == built
