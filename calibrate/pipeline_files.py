"""The files of a diffusers pipeline: its index, the weights of its parts, and what is missing of them. No torch."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from calibrate.pickles import is_pickle
from calibrate.pipeline_kind import kind_problem
from genq_export.core.errors import UserError
from genq_export.core.paths import refuse_links_out, relative_name
from genq_export.data.digests import files_digest
from genq_export.data.walk import visible_files

INDEX = "model_index.json"
LICENSE = "README.md"
_NEVER_IN_ONE_FILE = ("safety_checker", "feature_extractor", "image_encoder")
# `diffusion_pytorch_model.fp16.safetensors`, `model-00001-of-00002.safetensors`, `model.fp16-00001-of-00002.…`
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:-\d{5}-of-\d{5})?(?:\.(?P<variant>\w+)(?:-\d{5}-of-\d{5})?)?\.safetensors"
)


def read_index(folder: Path) -> dict[str, Any]:
    """Read `model_index.json`. Raises UserError for a folder that is not a diffusers pipeline."""
    try:
        index = json.loads((folder / INDEX).read_text())
    except (OSError, ValueError, RecursionError):
        index = None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise UserError(
            f"generator folder {folder} is not a diffusers pipeline (no valid {INDEX} in it):"
            " give the folder that save_pretrained wrote"
        )
    return index


def folder_problem(folder: Path, cached: bool = False, weights: bool = True) -> str | None:
    """Say what keeps a folder from being a whole text-to-image pipeline, None if nothing does.

    An interrupted download leaves an index whose components are missing or without weights.

    Args:
        folder: of the pipeline.
        cached: it is a snapshot in the hub's cache, whose links may lead to blobs of the same repository alone.
        weights: its weights are wanted; else the files beside them suffice.
    """
    try:
        index = read_index(folder)
        if cached:
            refuse_links_out(folder, folder.parent.parent)
        parts = components(folder, index)
        problem = kind_problem(index)
        if problem is not None:
            return f"generator {folder} makes no images of text: {problem}"
        for name, kind in parts.items():
            if not weights and name in _NEVER_IN_ONE_FILE:
                continue
            part = folder / name
            if not part.is_dir() or not any(part.iterdir()):
                return f"generator {folder} lacks its component '{name}' ({kind}): the copy or download is incomplete"
            if weights:
                _check_shards(part)
        if weights:
            variant_of(folder, parts)
    except UserError as error:
        return str(error)
    return None


def components(folder: Path, index: Mapping[str, Any]) -> dict[str, str | None]:
    """Class by name of each part that a pipeline has; the name is the name of a folder in it."""
    found: dict[str, str | None] = {}
    for name, value in index.items():
        match value:
            case [str(), str() | None as kind]:
                if "/" in name or not _is_name(name):
                    raise UserError(f"{folder / INDEX} names a component {name!r}, which cannot be a folder beside it")
                found[name] = kind
    return found


def variant_of(folder: Path, parts: Mapping[str, str | None]) -> str | None:
    """Return the variant, such as `fp16`, in which a pipeline's weights are there; None where they are without one.

    Raises:
        UserError: where a part has no safetensors weights, or no variant is common to those that need one.
    """
    held = {name: _names(folder / name) for name, kind in parts.items() if _has_weights(name, kind)}
    variants = {name: variants_in(names) for name, names in held.items()}
    for name in (name for name, found in variants.items() if not found):
        if any(is_pickle(Path(file)) for file in held[name]):
            raise UserError(_only_pickled(folder, name))
        raise UserError(
            f"generator {folder} has no weights for '{name}' ({parts[name]}): the copy or download is incomplete"
        )
    variant = common_variant(variants.values())
    if variant is not None:
        _check_suffixes(folder, parts)
    elif not all(None in found for found in variants.values()):
        told = "; ".join(
            f"'{name}' {' or '.join(sorted(filter(None, v)))}" for name, v in variants.items() if None not in v
        )
        raise UserError(f"generator {folder} has weights of variants that do not go together: {told}")
    return variant


def variants_in(names: Iterable[str]) -> set[str | None]:
    """The variants of which there are weights among names of files; None stands for weights of no variant."""
    return {found["variant"] for name in names if (found := _WEIGHTS.fullmatch(name))}


def common_variant(variants: Iterable[set[str | None]]) -> str | None:
    """The variant that every part has which lacks weights of none; None where no part does, or none is common."""
    lacking = [found for found in variants if None not in found]
    common = set.intersection(*lacking) if lacking else set()
    return min(filter(None, common), key=lambda name: (name != "fp16", name), default=None)


def pipeline_digest(folder: Path) -> str:
    """Return a hex digest of the names and whole contents of the files that a pipeline consists of.

    Checkpoints that lie beside the folders of its components are none of it, and neither are hidden files. A link
    counts as what it leads to.

    Raises:
        UserError: where it is no pipeline, or one of its files cannot be read.
    """
    files = [folder / INDEX, *([folder / LICENSE] if (folder / LICENSE).is_file() else [])]
    for name in components(folder, read_index(folder)):
        files += visible_files(folder / name) if (folder / name).is_dir() else ()
    return files_digest(folder, files)


def image_size(folder: Path | None) -> int:
    """Pixels a side of what a pipeline draws, read from its files without loading them; 512 where they do not say."""
    try:
        assert folder is not None
        part = "unet" if (folder / "unet").is_dir() else "transformer"
        core = json.loads((folder / part / "config.json").read_text())
        coder = json.loads((folder / "vae" / "config.json").read_text())
        return int(core["sample_size"]) << (len(coder["block_out_channels"]) - 1)
    except (AssertionError, OSError, ValueError, KeyError, TypeError):
        return 512


def _names(part: Path) -> list[str]:
    return [file.name for file in part.iterdir()]


def _only_pickled(folder: Path, part: str) -> str:
    return (
        f"generator {folder} has weights for '{part}' only as a pickle, which is not opened: where you trust it,"
        f' convert it (`python -c "import genq_export, diffusers;'
        f" diffusers.DiffusionPipeline.from_pretrained('{folder}').save_pretrained('NEW')\"`) and give --generator NEW"
    )


def _check_suffixes(folder: Path, parts: Iterable[str]) -> None:
    """diffusers takes the second word of every file's name for its variant, where one is asked for."""
    for place in (file for part in parts for file in (folder / part).iterdir() if "." not in file.name):
        raise UserError(f"{place} has no suffix, which diffusers cannot read beside weights of a variant: remove it")


def _check_shards(part: Path) -> None:
    """Weights in several files are listed in one, whose names can only be those of files beside it."""
    for listing in part.glob("*.safetensors.index*.json"):
        try:
            shards = set(json.loads(listing.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{listing} does not list weights: the copy or download is incomplete") from None
        foreign = [name for name in shards if not (isinstance(name, str) and _is_name(name))]
        if foreign:
            raise UserError(f"{listing} names weights {foreign[0]!r}, which cannot lie beside it")
        lacking = sorted(name for name in shards if not (part / name).is_file())
        if lacking:
            raise UserError(f"{part} lacks its weights {lacking[0]}: the copy or download is incomplete")


def _is_name(name: str) -> bool:
    try:
        relative_name(name)
    except ValueError:
        return False
    return True


def _has_weights(name: str, kind: str | None) -> bool:
    return not any(word in f"{name} {kind}".lower() for word in ("tokenizer", "scheduler", "extractor", "processor"))
