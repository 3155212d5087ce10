"""The shipped text-to-image pipeline: its words, its files, its images; and the parts it is made from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genq_export import zoo
from tools.train_zoo.autoencoder import build_autoencoder, encode, normalise_latents
from tools.train_zoo.captions import vocabulary
from tools.train_zoo.diffusion import min_snr_weights
from tools.train_zoo.evaluate import prompts_in_turn, tile
from tools.train_zoo.pipeline import sample
from tools.train_zoo.text import MAX_LENGTH, build_tokenizer, learn_merges
from tools.train_zoo.train import main as train_main


def test_it_is_an_ordinary_stable_diffusion_pipeline(pipeline: Any) -> None:
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    assert type(pipeline.text_encoder).__name__ == "CLIPTextModel"
    assert pipeline.safety_checker is None and not pipeline.config.requires_safety_checker
    assert pipeline.unet.config.sample_size == 8 and pipeline.vae_scale_factor == 4


def test_every_file_is_small_and_the_package_too() -> None:
    files = [path for path in zoo.pipeline_folder().parent.rglob("*") if path.is_file()]
    assert all(path.stat().st_size < 6_000_000 for path in files)
    assert sum(path.stat().st_size for path in files) <= 24_000_000


def test_four_images_in_a_few_steps(pipeline: Any) -> None:
    prompts = ["a studio photo of a sneaker", "a photo of a small bag", "", "a photo of a zebra"]
    images = sample(pipeline, prompts, seed=1, steps=4)
    assert images.shape == (4, 32, 32, 3) and images.dtype == np.uint8
    assert images.reshape(4, -1).std(axis=1).min() > 5
    alone = sample(pipeline, prompts[1:2], seed=2, steps=4)
    assert np.abs(images[1].astype(int) - alone[0]).max() <= 2  # an image depends on its seed, not on its batch


def test_images_follow_the_prompt(pipeline: Any) -> None:
    prompts, labels = prompts_in_turn(["a {style} of a {c}"], 40)
    images = sample(pipeline, prompts, seed=0, steps=10)
    logits = zoo.create_model("fashion_resnet")(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    assert (logits.argmax(1).numpy() == labels).mean() > 0.7


def test_the_tokenizer_knows_its_words_whole(pipeline: Any) -> None:
    tokenizer = pipeline.tokenizer
    assert tokenizer.model_max_length == MAX_LENGTH == pipeline.text_encoder.config.max_position_embeddings
    for word in vocabulary():
        assert tokenizer.tokenize(word) == [part + "</w>" for part in word.replace("-", " - ").split()]
    longest = "a photo of a small t-shirt in the style of a faded print"
    assert len(tokenizer(longest).input_ids) <= MAX_LENGTH


def test_unknown_words_are_spelt(pipeline: Any) -> None:
    tokenizer = pipeline.tokenizer
    for word in ("zebra", "quiz", "naïve", "日本", "42"):
        pieces = tokenizer.tokenize(word)
        assert len(pieces) > 1 and tokenizer.unk_token not in pieces
    assert len(tokenizer("sneaker " * 50, truncation=True).input_ids) == MAX_LENGTH


def test_a_token_can_be_added(pipeline: Any) -> None:
    tokenizer = build_tokenizer(vocabulary())
    before = len(tokenizer)
    assert before == pipeline.text_encoder.config.vocab_size
    assert tokenizer.add_tokens("<style>") == 1
    assert tokenizer.convert_tokens_to_ids("<style>") == before
    assert before in tokenizer("a photo of a bag in the style of <style>").input_ids


def test_merges_join_each_word() -> None:
    assert learn_merges(["ab", "abc"]) == [("a", "b"), ("a", "b</w>"), ("ab", "c</w>")]
    assert learn_merges([]) == []


@torch.no_grad()
def test_normalising_latents_keeps_the_images() -> None:
    torch.manual_seed(0)
    model = build_autoencoder().eval()
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    before = model.decode(encode(model, images)).sample
    normalise_latents(model, images)
    latents = encode(model, images)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-3
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-3
    torch.testing.assert_close(model.decode(latents).sample, before, rtol=1e-3, atol=1e-3)


def test_min_snr_weights_limit_the_clean_end_only() -> None:
    weights = min_snr_weights(torch.tensor([0.99, 0.5, 0.01]))
    torch.testing.assert_close(weights, torch.tensor([5 / 99, 1.0, 1.0]))


def test_a_contact_sheet_has_its_rows() -> None:
    sheet = tile(np.zeros((6, 32, 32, 3), np.uint8), columns=3, zoom=2)
    assert sheet.size == (3 * 34 * 2, 2 * 34 * 2)


def test_training_explains_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main(["vae", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "dataset-fashion-mnist" in capsys.readouterr().err
    assert train_main(["unet", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "train the part vae first" in capsys.readouterr().err
