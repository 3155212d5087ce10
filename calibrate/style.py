"""A learned style token: its file, which base model it belongs to, and how it enters a pipeline.

The file is diffusers' textual-inversion format, one tensor named by its token, so `pipeline.load_textual_inversion`
reads it too. The identity of the base model is stamped into its metadata: an embedding means nothing to another text
encoder, although its width may fit.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from calibrate.pipeline_kind import unfit_for_style
from calibrate.prompts import STYLE_TOKEN
from calibrate.style_file import style_file_problem
from genq_export.core.errors import UserError, reason_of
from genq_export.core.workspace import write_atomic

_A1111 = "emb_params"


def base_identity(pipeline: Any) -> str:
    """Hex digest of the text encoder's own token embeddings and the UNet's first layer.

    Taken in half precision, so that the same model is recognised whatever precision it is loaded in.
    """
    table = pipeline.text_encoder.get_input_embeddings().weight[: pipeline.tokenizer.vocab_size]
    digest = hashlib.sha256()
    for weight in (table, pipeline.unet.conv_in.weight):
        digest.update(weight.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_pipeline(pipeline: Any) -> None:
    """Raises UserError for a pipeline without the one text encoder and UNet that a style token needs."""
    parts = {name: type(part) for name, part in pipeline.components.items() if part is not None}
    index = {name: [kind.__module__, kind.__name__] for name, kind in parts.items()}
    problem = unfit_for_style({"_class_name": type(pipeline).__name__, **index})
    if problem is not None:
        raise UserError(problem)


def style_bytes(embedding: torch.Tensor, facts: dict[str, str]) -> bytes:
    """The file's content: float32 [width] under the token's name, and `facts` as metadata."""
    return save({STYLE_TOKEN: embedding.detach().float().cpu().contiguous()}, metadata={"format": "pt", **facts})


def save_style(path: Path, embedding: torch.Tensor, pipeline: Any, base_name: str, learned_from: str) -> None:
    """Write the token of this pipeline atomically."""
    facts = {"base_model": base_name, "base_identity": base_identity(pipeline), "learned_from": learned_from}
    write_atomic(path, style_bytes(embedding, facts))


def load_style(path: Path, pipeline: Any) -> torch.Tensor:
    """Read a token learned on this pipeline, float32 [vectors, width].

    Raises UserError for a file that is not one, of another width, or learned on another base model. A file without a
    stamp (learned elsewhere, by diffusers or by A1111's web UI) is taken if its width fits.
    """
    problem = style_file_problem(path)
    if problem is not None:
        raise UserError(problem)
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read style token {path}: {reason_of(error)}") from None
    embedding = _vectors(path, tensors)
    width = pipeline.text_encoder.get_input_embeddings().embedding_dim
    if embedding.shape[1] != width:
        raise UserError(
            f"style token {path} has {embedding.shape[1]} dimensions, the text encoder of the generator has {width}:"
            f" it was learned on another base model{_named(facts)}"
        )
    stamp = facts.get("base_identity")
    if stamp is not None and stamp != base_identity(pipeline):
        raise UserError(
            f"style token {path} was learned on another base model{_named(facts)} and means nothing to this one:"
            " give that model with --generator, or learn a token for this one with --real DIR"
        )
    return embedding


def _vectors(path: Path, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The one tensor of the file, or that of A1111 among others, as float32 [vectors, width]."""
    if {"clip_l", "clip_g"} <= tensors.keys():
        raise UserError(f"style token {path} is of Stable Diffusion XL, for two text encoders; one is needed")
    found = tensors.get(_A1111, next(iter(tensors.values())) if len(tensors) == 1 else None)
    if found is None or found.dim() not in (1, 2) or not found.is_floating_point() or 0 in found.shape:
        raise UserError(
            f"{path} is not a style token (one tensor, a row for each of its vectors, as textual inversion saves it)"
        )
    if not torch.isfinite(found).all():
        raise UserError(f"style token {path} holds numbers that are not finite")
    rows: torch.Tensor = torch.atleast_2d(found)
    return rows.float()


def add_token(pipeline: Any, vectors: int = 1) -> int:
    """Give the pipeline's tokenizer and text encoder the style token; returns its number.

    Further vectors are tokens named as diffusers names them, which its pipelines put behind the first in a prompt.
    """
    names = [STYLE_TOKEN, *(f"{STYLE_TOKEN}_{place}" for place in range(1, vectors))]
    new = [name for name in names if name not in pipeline.tokenizer.get_vocab()]
    if new:
        pipeline.tokenizer.add_tokens(new)
        pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer), mean_resizing=False)
    return int(pipeline.tokenizer.convert_tokens_to_ids(STYLE_TOKEN))


@torch.no_grad()
def set_embedding(pipeline: Any, embedding: torch.Tensor) -> None:
    """Make the style token mean `embedding`, float [width] or [vectors, width]."""
    rows = torch.atleast_2d(embedding)
    number = add_token(pipeline, len(rows))
    weight = pipeline.text_encoder.get_input_embeddings().weight
    weight[number : number + len(rows)] = rows.to(weight.device, weight.dtype)


def _named(facts: dict[str, str]) -> str:
    return f" ({facts['base_model']})" if "base_model" in facts else ""
