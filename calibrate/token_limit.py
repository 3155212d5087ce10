"""How long a prompt a text-to-image pipeline reads: what its tokenizers would cut off is found before they do."""

from collections.abc import Callable, Iterable
from typing import Any

from calibrate.prompts import STYLE_TOKEN


def fits(pipeline: Any) -> Callable[[str], bool]:
    """Is a prompt read whole by every tokenizer and text encoder of a pipeline? Special tokens count, too.

    The style token counts as its vectors, as one before the pipeline has it.
    """
    limits = [(tokenizer, limit) for tokenizer, encoder in _readers(pipeline) if (limit := _limit(tokenizer, encoder))]
    return lambda text: all(_tokens(tokenizer, text) <= limit for tokenizer, limit in limits)


def beyond_table(pipeline: Any, texts: Iterable[str]) -> str | None:
    """Return the first text with a token that a text encoder of the pipeline has no embedding for, None if none is."""
    for tokenizer, encoder in _readers(pipeline):
        table = encoder.get_input_embeddings() if hasattr(encoder, "get_input_embeddings") else None
        rows: int | None = getattr(table, "num_embeddings", None)
        for text in texts:
            if rows is not None and max(tokenizer(text, truncation=True).input_ids, default=0) >= rows:
                return text
    return None


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
    vectors: int = max(1, sum(name.startswith(STYLE_TOKEN) for name in getattr(tokenizer, "added_tokens_encoder", ())))
    return len(tokenizer(plain, truncation=False).input_ids) + text.count(STYLE_TOKEN) * vectors
