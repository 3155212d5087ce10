"""What a pipeline's tokenizers read whole."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from calibrate.prompts import STYLE_SUFFIX
from calibrate.token_limit import fits


def tokenizer(limit: int) -> Any:
    """A token a word, and two special ones."""

    def call(text: str, truncation: bool) -> Any:
        return SimpleNamespace(input_ids=[0, *range(len(text.split())), 0])

    call.model_max_length = limit  # type: ignore[attr-defined]
    return call


def encoder(positions: int) -> Any:
    return SimpleNamespace(config=SimpleNamespace(max_position_embeddings=positions))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"tokenizer": tokenizer(10), "text_encoder": encoder(10)}, 8),
        ({"tokenizer": tokenizer(10**30), "text_encoder": encoder(20)}, 18),
        ({"tokenizer": tokenizer(77), "tokenizer_2": tokenizer(12)}, 10),
        ({"tokenizer": tokenizer(10**30)}, None),
    ],
)
def test_the_smallest_limit_counts(parts: dict[str, Any], words: int | None) -> None:
    fit = fits(SimpleNamespace(**parts))
    if words is None:
        assert fit("a " * 10_000)
        return
    assert fit("a " * words) and not fit("a " * (words + 1))
    style = len(STYLE_SUFFIX.split())
    assert fit("a " * (words - style) + STYLE_SUFFIX) and not fit("a " * (words - style + 1) + STYLE_SUFFIX)


def test_a_real_tokenizer(pipeline_folder: Path) -> None:
    from transformers import CLIPTokenizer

    fit = fits(SimpleNamespace(tokenizer=CLIPTokenizer.from_pretrained(pipeline_folder / "tokenizer")))
    assert fit("a photo of a bag") and not fit("a photo of a bag " * 10)
