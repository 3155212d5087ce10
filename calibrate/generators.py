"""Where a text-to-image pipeline comes from: a folder, a checkpoint, the hub's cache, or the hub. Free of torch."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.checkpoint_file import repository_of_configs
from calibrate.pickles import is_pickle, pickle_refusal
from calibrate.pipeline_files import INDEX, LICENSE, folder_problem, pipeline_digest, read_index
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.config.registry import SOURCES
from genq_export.core.errors import UserError
from genq_export.data.digests import file_digest
from genq_export.models import source as models

DEFAULT_GENERATOR = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CHECKPOINT = ".safetensors"
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
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
    """A pipeline and where its files are.

    name: as given, of a folder or file its last part. folder: that holds it, or that says what a checkpoint consists
    of; None while it is only on the hub. hub: `owner/name` or `owner/name@revision` that the folder is of, which then
    is a snapshot in the hub's cache; None for a folder of the user's. checkpoint: all weights in one file.
    """

    name: str
    folder: Path | None
    hub: str | None = None
    checkpoint: Path | None = None

    @property
    def place(self) -> str:
        """What an error calls it."""
        return str(self.checkpoint or self.hub or self.folder)

    @property
    def identity(self) -> str:
        """Changes when the pipeline's files do. Raises UserError where they cannot be read."""
        weights = "" if self.checkpoint is None else f" checkpoint {file_digest(self.checkpoint)}"
        files = f"hub {self.hub}" if self.folder is None else f"pipeline {pipeline_digest(self.folder)}"
        return files + weights

    def problem(self) -> str | None:
        """Say why it cannot draw, as far as its files tell; None where they do not, or are only on the hub."""
        if self.folder is None:
            return None
        return folder_problem(self.folder, self.hub is not None, weights=self.checkpoint is None)

    @property
    def index(self) -> dict[str, Any]:
        """`model_index.json`: the pipeline's class and its components. Empty while the pipeline is only on the hub."""
        return {} if self.folder is None else read_index(self.folder)

    @property
    def license(self) -> str:
        """The licence its model card states, "unknown" where there is none."""
        if self.checkpoint is not None:
            return "unknown"
        if self.folder is not None and (self.folder / LICENSE).is_file():
            found = re.search(r"^license:\s*(\S+)", (self.folder / LICENSE).read_text(errors="replace"), re.M)
            if found:
                return found[1]
        return _KNOWN_LICENSES.get((self.hub or self.name).partition("@")[0], "unknown")


def find_generator(config: BuildConfig) -> Generator:
    """Return the pipeline a build draws with: the one given, the one of the network's door, else Stable Diffusion 1.5.

    Raises:
        UserError: for a name that is neither a folder, nor a checkpoint, nor a hub name.
    """
    name = config.calibrate.generator
    if name is None:
        name = models.door_for(config.model).default_generator(config.model) or DEFAULT_GENERATOR
    if name == zoo.ZOO_PIPELINE:
        return Generator(name, zoo.pipeline_folder())
    if Path(name).is_dir():
        return Generator(os.path.basename(os.path.abspath(name)) or name, Path(name))
    if Path(name).exists():
        return _checkpoint(Path(name), config.calibrate.generator_config)
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise UserError(
            f"generator {name} is neither an existing folder nor a hub name (owner/name, owner/name@revision), nor"
            f" {' or '.join(SOURCES)}"
        )
    return Generator(name, cached_folder(name), hub=name)


def _checkpoint(path: Path, configs: Path | None) -> Generator:
    """A single file with all weights, and the folder that says what they are of."""
    if is_pickle(path):
        raise UserError(pickle_refusal("generator", path, "--generator"))
    if path.suffix.lower() != CHECKPOINT or not path.is_file():
        raise UserError(
            f"generator {path} is a file of another kind; --generator takes a diffusers pipeline folder, a single-file"
            f" checkpoint ({CHECKPOINT}), or a hub name"
        )
    if configs is not None:
        return Generator(path.stem, configs, checkpoint=path)
    repository = repository_of_configs(path)
    return Generator(path.stem, cached_folder(repository), hub=repository, checkpoint=path)


def cached_folder(name: str) -> Path | None:
    """The snapshot of a hub repository, `owner/name` or `owner/name@revision`, in the local cache; None if its index
    was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = name.partition("@")
    found = try_to_load_from_cache(repository, INDEX, revision=revision or None)
    return Path(found).parent if isinstance(found, str) else None
