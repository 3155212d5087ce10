"""Load a text-to-image pipeline of diffusers: from its folder, from a checkpoint, or from the hub."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from calibrate.generators import Generator, cached_folder
from calibrate.lora import Lora
from calibrate.pipeline_files import common_variant, components, read_index, variant_of, variants_in
from calibrate.pipeline_kind import kind_problem
from genq_export.core.errors import UserError, reason_of

_CONFIGS = ["*.json", "*.txt", "*.model", "**/*.json", "**/*.txt", "**/*.model"]


def load_pipeline(generator: Generator, loras: tuple[Lora, ...], device: str) -> tuple[Any, Generator]:
    """Load a pipeline with its LoRAs: float32 on the CPU, float16 on an accelerator.

    Returns:
        The pipeline, and the generator with the folder that it came from.

    Raises:
        UserError: where it is no pipeline, not whole, or cannot be fetched.
    """
    _quieten()
    here = fetched(generator)
    problem = here.problem()
    if problem is not None:
        raise UserError(problem)
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    try:
        pipeline = _from_folder(here, dtype) if here.checkpoint is None else _from_checkpoint(here, dtype)
        for lora in loras:
            lora.fuse(pipeline)
        pipeline.to(device)
    except UserError:
        raise
    except Exception as error:  # the libraries raise their own, and the operating system's
        raise UserError(f"cannot load generator {here.place}: {reason_of(error)}; {_ways_out(here)}") from None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, here


def fetched(generator: Generator) -> Generator:
    """Download what is only on the hub; its kind is looked at before its weights.

    Raises:
        UserError: where it cannot be had, or is not text to image.
    """
    incomplete = "incomplete" in (generator.problem() or "")
    if generator.hub is None or (generator.folder is not None and not incomplete):
        return generator
    try:
        folder = _download(generator.hub, configs_only=generator.checkpoint is not None)
    except UserError:
        raise
    except Exception as error:  # the library raises its own, httpx's and the operating system's
        raise UserError(
            f"cannot load generator {generator.place}: {reason_of(error)}; {_ways_out(generator)}"
        ) from None
    return replace(generator, folder=cached_folder(generator.hub) or folder)


def _download(name: str, configs_only: bool) -> Path:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    repository, _, revision = name.partition("@")
    index = Path(hf_hub_download(repository, "model_index.json", revision=revision or None))
    problem = kind_problem(read_index(index.parent))
    if problem is not None:
        raise UserError(f"generator {name} makes no images of text: {problem}")
    if configs_only:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_CONFIGS))
    held = [file.partition("/") for file in HfApi().list_repo_files(repository, revision=revision or None)]
    parts = components(index.parent, read_index(index.parent))
    variants = [variants_in(file for folder, _, file in held if folder == part) for part in parts]
    variant = common_variant(found for found in variants if found)
    return Path(
        DiffusionPipeline.download(repository, revision=revision or None, variant=variant, use_safetensors=True)
    )


def _from_folder(generator: Generator, dtype: torch.dtype) -> Any:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    assert generator.folder is not None
    variant = variant_of(generator.folder, components(generator.folder, generator.index))
    return DiffusionPipeline.from_pretrained(
        str(generator.folder), dtype=dtype, variant=variant, use_safetensors=True, local_files_only=True
    )


def _from_checkpoint(generator: Generator, dtype: torch.dtype) -> Any:
    import diffusers

    kind = generator.index["_class_name"]
    load = getattr(getattr(diffusers, kind), "from_single_file", None)
    if load is None:
        raise UserError(f"generator {generator.place}: diffusers reads no single file as a {kind}")
    return load(str(generator.checkpoint), config=str(generator.folder), dtype=dtype, local_files_only=True)


def _ways_out(generator: Generator) -> str:
    if generator.checkpoint is not None:
        return (
            "give the folder of a pipeline of its kind with --generator-config DIR, or a whole one with --generator DIR"
        )
    ways = "give a local one with --generator DIR"
    if generator.folder is None and generator.hub is not None:
        repository, _, revision = generator.hub.partition("@")
        which = f"{repository} --revision {revision}" if revision else repository
        ways += f" (`hf download {which} --local-dir DIR` on a machine with network)"
    return ways


def _quieten() -> None:
    """The libraries warn about what the stage handles itself (prompt length, a missing safety checker)."""
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
