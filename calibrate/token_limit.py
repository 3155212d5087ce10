"""How long a prompt a text-to-image pipeline reads: what its tokenizers would cut off is found before they do."""

from collections.abc import Callable
from typing import Any

from calibrate.prompts import STYLE_TOKEN


def fits(pipeline: Any) -> Callable[[str], bool]:
    """Is a prompt read whole by every tokenizer and text encoder of a pipeline? Special tokens count, too.

    The style token counts as the one token that it is, also before the pipeline has it.
    """
    limits = [(tokenizer, limit) for tokenizer, encoder in _readers(pipeline) if (limit := _limit(tokenizer, encoder))]
    return lambda text: all(_tokens(tokenizer, text) <= limit for tokenizer, limit in limits)


def _readers(pipeline: Any) -> list[tuple[Any, Any]]:
    """Tokenizers with their text encoders; some pipelines have three."""
    names = [(f"tokenizer{end}", f"text_encoder{end}") for end in ("", "_2", "_3")]
    found = [(getattr(pipeline, first, None), getattr(pipeline, second, None)) for first, second in names]
    return [(tokenizer, encoder) for tokenizer, encoder in found if tokenizer is not None]


def _limit(tokenizer: Any, encoder: Any) -> int | None:
    """Tokens that both take; None where neither says."""
    table = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    stated = [limit for limit in (getattr(tokenizer, "model_max_length", None), table) if isinstance(limit, int)]
    limit = min(stated, default=0)
    return limit if 0 < limit < 1 << 20 else None  # a tokenizer without limit states an enormous one


def _tokens(tokenizer: Any, text: str) -> int:
    plain = text.replace(STYLE_TOKEN, "")
    return len(tokenizer(plain, truncation=False).input_ids) + text.count(STYLE_TOKEN)
