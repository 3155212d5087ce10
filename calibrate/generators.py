"""Where a text-to-image pipeline comes from: a folder, the hub's cache, or the hub. Free of torch."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.config.registry import SOURCES
from genq_export.core.errors import UserError
from genq_export.core.paths import refuse_links_out, relative_name
from genq_export.data.digests import files_digest
from genq_export.data.walk import visible_files
from genq_export.models import source as models

DEFAULT_GENERATOR = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_INDEX = "model_index.json"
_WEIGHT_SUFFIXES = (".safetensors", ".bin")
_BESIDE = ("README.md",)  # states the licence
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# Licences of pipelines whose cached files do not always carry the model card.
_KNOWN_LICENSES = {
    zoo.ZOO_PIPELINE: "mit",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stabilityai/stable-diffusion-2-1": "openrail++",
    "stabilityai/sd-turbo": "other",
    "stabilityai/sdxl-turbo": "other",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
}


@dataclass(frozen=True)
class Generator:
    """A pipeline and the folder that holds it, None while it is only on the hub.

    name: of the hub, or of the folder. cached: the folder is a snapshot in the hub's cache, which is links to blobs.
    """

    name: str
    folder: Path | None
    cached: bool = False

    @property
    def identity(self) -> str:
        """Changes when the pipeline's files do. Raises UserError where they cannot be read."""
        if self.folder is None:
            return f"hub {self.name}"
        return f"pipeline {pipeline_digest(self.folder)}"

    @property
    def index(self) -> dict[str, Any]:
        """`model_index.json`: the pipeline's class and its components. Empty while the pipeline is only on the hub."""
        return {} if self.folder is None else read_index(self.folder)

    @property
    def license(self) -> str:
        """The licence its model card states, "unknown" where there is none."""
        if self.folder is not None and (self.folder / "README.md").is_file():
            found = re.search(r"^license:\s*(\S+)", (self.folder / "README.md").read_text(errors="replace"), re.M)
            if found:
                return found[1]
        return _KNOWN_LICENSES.get(self.name, "unknown")


def find_generator(config: BuildConfig) -> Generator:
    """Return the pipeline a build draws with: the one given, the one of the network's door, else Stable Diffusion 1.5.

    Raises:
        UserError: for a name that is neither a folder nor a hub name.
    """
    name = config.calibrate.generator
    if name is None:
        name = models.door_for(config.model).default_generator(config.model) or DEFAULT_GENERATOR
    if name == zoo.ZOO_PIPELINE:
        return Generator(name, zoo.pipeline_folder())
    if Path(name).is_dir():
        return Generator(os.path.basename(os.path.abspath(name)) or name, Path(name))
    if Path(name).exists():
        raise UserError(f"generator {name} is a file; --generator takes a diffusers pipeline folder or a hub name")
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise UserError(
            f"generator {name} is neither an existing folder nor a hub name (owner/name), nor {' or '.join(SOURCES)}"
        )
    return Generator(name, cached_folder(name), cached=True)


def cached_folder(name: str) -> Path | None:
    """The snapshot of a hub repository in the local cache, None if its index was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, _INDEX)
    return Path(found).parent if isinstance(found, str) else None


def read_index(folder: Path) -> dict[str, Any]:
    """Read `model_index.json`. Raises UserError for a folder that is not a diffusers pipeline."""
    try:
        index = json.loads((folder / _INDEX).read_text())
    except (OSError, ValueError, RecursionError):
        index = None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise UserError(
            f"generator folder {folder} is not a diffusers pipeline (no valid {_INDEX} in it):"
            " give the folder that save_pretrained wrote"
        )
    return index


def folder_problem(folder: Path, cached: bool = False) -> str | None:
    """Say what keeps a folder from being a whole text-to-image pipeline, None if nothing does.

    An interrupted download leaves an index whose components are missing or without weights.

    Args:
        folder: of the pipeline.
        cached: it is a snapshot in the hub's cache, whose links may lead to blobs of the same repository alone.
    """
    try:
        index = read_index(folder)
        if cached:
            refuse_links_out(folder, folder.parent.parent)
        components = _components(folder, index)
        if not any(name.startswith("text_encoder") for name in components):
            return (
                f"generator {folder} ({index['_class_name']}) has no text encoder: it is not a text-to-image pipeline"
            )
        for name, kind in components.items():
            part = folder / name
            if not part.is_dir() or not any(part.iterdir()):
                return f"generator {folder} lacks its component '{name}' ({kind}): the copy or download is incomplete"
            if _has_weights(name, kind) and not any(file.suffix in _WEIGHT_SUFFIXES for file in part.iterdir()):
                return f"generator {folder} has no weights for '{name}' ({kind}): the copy or download is incomplete"
            _check_shards(part)
    except UserError as error:
        return str(error)
    return None


def _components(folder: Path, index: dict[str, Any]) -> dict[str, str | None]:
    """Class by name of each part that a pipeline has; the name is the name of a folder in it."""
    found: dict[str, str | None] = {}
    for name, value in index.items():
        match value:
            case [str(), str() | None as kind]:
                if "/" in name or not _is_name(name):
                    raise UserError(f"{folder / _INDEX} names a component {name!r}, which cannot be a folder beside it")
                found[name] = kind
    return found


def _check_shards(part: Path) -> None:
    """Weights in several files are listed in one, whose names can only be those of files beside it."""
    for listing in part.glob("*.index.json"):
        try:
            shards = set(json.loads(listing.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{listing} does not list weights: the copy or download is incomplete") from None
        foreign = [name for name in shards if not (isinstance(name, str) and _is_name(name))]
        if foreign:
            raise UserError(f"{listing} names weights {foreign[0]!r}, which cannot lie beside it")


def _is_name(name: str) -> bool:
    try:
        relative_name(name)
    except ValueError:
        return False
    return True


def unfit_for_style(index: dict[str, Any]) -> str | None:
    """Say why a pipeline, given its `model_index.json`, cannot have a style token; None if it can.

    A token needs one text encoder, whose embedding it is, and a UNet to learn it with.
    """
    parts = {name for name, value in index.items() if isinstance(value, list) and value[0] is not None}
    if "unet" in parts and "text_encoder_2" not in parts:
        return None
    return (
        "a style token needs a pipeline with one text encoder and a UNet (Stable Diffusion 1.x or 2.x), not"
        f" {index.get('_class_name')}: give another --generator, or leave out --real and --style"
    )


def image_size(config: BuildConfig, folder: Path | None) -> int:
    """Pixels a side of what the pipeline draws, read from its files without loading them; 512 where they do not say."""
    if config.calibrate.size is not None:
        return config.calibrate.size
    try:
        assert folder is not None
        part = "unet" if (folder / "unet").is_dir() else "transformer"
        core = json.loads((folder / part / "config.json").read_text())
        coder = json.loads((folder / "vae" / "config.json").read_text())
        return int(core["sample_size"]) << (len(coder["block_out_channels"]) - 1)
    except (AssertionError, OSError, ValueError, KeyError, TypeError):
        return 512


def pipeline_digest(folder: Path) -> str:
    """Return a hex digest of the names and whole contents of the files that a pipeline consists of.

    Checkpoints that lie beside the folders of its components are none of it, and neither are hidden files. Nothing but
    the links in it tells a snapshot of the hub's cache from other folders, and a link counts as what it leads to.

    Raises:
        UserError: where it is no pipeline, or one of its files cannot be read.
    """
    files = [folder / _INDEX, *(folder / name for name in _BESIDE if (folder / name).is_file())]
    for name in _components(folder, read_index(folder)):
        files += visible_files(folder / name) if (folder / name).is_dir() else ()
    return files_digest(folder, files)


def _has_weights(name: str, kind: str | None) -> bool:
    return not any(word in f"{name} {kind}".lower() for word in ("tokenizer", "scheduler", "extractor", "processor"))
