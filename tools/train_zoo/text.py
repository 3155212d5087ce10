"""The pipeline's text side: a CLIP tokenizer with a small vocabulary of its own, and a small CLIP text encoder."""

from collections import Counter
from itertools import pairwise
from typing import Any

from tools.train_zoo.libraries import transformers

MAX_LENGTH = 20  # tokens; "a photo of a small t-shirt in the style of a faded print" takes 16 with its two ends
WIDTH = 64

_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(words: list[str]) -> Any:
    """Return a tokenizer that holds each of `words` (of letters) as one token and spells any other text in bytes."""
    merges = learn_merges([part for word in words for part in word.split("-")])
    symbols = [*byte_symbols(), *(symbol + "</w>" for symbol in byte_symbols())]
    symbols += ["".join(pair) for pair in merges]
    vocabulary = {symbol: number for number, symbol in enumerate([*symbols, _START, _END])}
    return transformers().CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)


def build_text_encoder(tokenizer: Any) -> Any:
    """Return the untrained encoder: token numbers int64 [N, L] to hidden states float32 [N, L, WIDTH]."""
    config = transformers().CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers().CLIPTextModel(config)


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges, in order, that join each of `words` into one symbol ending in `</w>`.

    The most frequent neighbouring pair is joined first, the alphabetically first among equals.
    """
    spellings = [[*word[:-1], word[-1] + "</w>"] for word in sorted(set(words)) if word]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for symbols in spellings for pair in pairwise(symbols)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spellings = [_merge(symbols, best) for symbols in spellings]
    return merges


def byte_symbols() -> list[str]:
    """Return the 256 characters by which byte-level BPE writes the bytes 0..255 (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    table |= {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    position = 0
    while position < len(symbols):
        if tuple(symbols[position : position + 2]) == pair:
            merged.append("".join(pair))
            position += 2
        else:
            merged.append(symbols[position])
            position += 1
    return merged
