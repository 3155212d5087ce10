"""LoRA weights beside a pipeline: `--lora FILE`, `--lora owner/name`, each with `:0.8` behind it. Free of torch."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calibrate.pickles import is_pickle, pickle_refusal
from genq_export.core.errors import UserError, reason_of
from genq_export.data.digests import file_digest

_GIVEN = re.compile(r"(?P<name>.+?)(?::(?P<weight>-?\d+(?:\.\d+)?))?")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")
_SAVED_AS = "pytorch_lora_weights.safetensors"  # by diffusers


@dataclass(frozen=True)
class Lora:
    """One LoRA. name: as given. file: None while it is only on the hub. weight: what its change is multiplied with."""

    name: str
    file: Path | None
    weight: float

    @property
    def identity(self) -> str:
        """Changes when its file or its weight does."""
        return f"lora {self.name if self.file is None else file_digest(self.file)} {self.weight:g}"

    def fetch(self) -> None:
        """Download it where it is only on the hub. Raises UserError where it cannot be had."""
        if self.file is not None:
            return
        try:
            _downloaded(self.name)
        except UserError:
            raise
        except Exception as error:  # the hub's, httpx's and the operating system's
            raise UserError(
                f"cannot fetch LoRA {self.name}: {reason_of(error)}; give its file with --lora FILE.safetensors"
            ) from None

    def fuse(self, pipeline: Any) -> None:
        """Add it to the weights of a pipeline.

        Raises:
            UserError: where it cannot be had, or does not fit the pipeline.
        """
        kind = type(pipeline).__name__
        if not hasattr(pipeline, "load_lora_weights"):
            raise UserError(f"LoRA {self.name}: diffusers takes none for a {kind}")
        try:
            file = self.file or _downloaded(self.name)
            pipeline.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
            changed = pipeline.get_list_adapters()
            if not changed:
                raise UserError(f"LoRA {self.name} does not fit the generator ({kind}): it names none of its layers")
            pipeline.fuse_lora(components=list(changed), lora_scale=self.weight)
            pipeline.unload_lora_weights()
        except UserError:
            raise
        except Exception as error:  # of diffusers and peft, of all kinds
            raise UserError(f"LoRA {self.name} does not fit the generator ({kind}): {reason_of(error)}") from None


def find_loras(given: Iterable[str]) -> tuple[Lora, ...]:
    """Look each up. Raises UserError for what is neither a file, a folder with one, nor a hub name."""
    return tuple(_find(text) for text in given)


def lora_problems(given: Iterable[str], reachable: bool) -> list[str]:
    """Say what keeps LoRAs from being used.

    Args:
        given: as on the command line.
        reachable: the hub answers.
    """
    found, texts = [], list(given)
    if texts and find_spec("peft") is None:
        found.append("LoRA weights need peft: pip install 'genq-export[lora]'")
    for text in texts:
        try:
            lora = _find(text)
        except UserError as error:
            found.append(str(error))
            continue
        if lora.file is None and not reachable:
            found.append(
                f"LoRA {lora.name} is not in the Hugging Face cache and the hub cannot be reached: give its file with"
                " --lora FILE.safetensors"
            )
    return found


def _find(text: str) -> Lora:
    match = _GIVEN.fullmatch(text)
    assert match is not None
    name, weight = (text, None) if Path(text).exists() else (match["name"], match["weight"])
    scale = 1.0 if weight is None else float(weight)
    path = Path(name)
    if path.is_dir():
        return Lora(name, _only_one(path), scale)
    if path.is_file():
        if is_pickle(path):
            raise UserError(pickle_refusal("LoRA", path, "--lora"))
        if path.suffix.lower() != ".safetensors":
            raise UserError(f"LoRA {path} is a file of another kind (--lora takes .safetensors)")
        return Lora(name, path, scale)
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise UserError(f"LoRA {name} is neither a file nor a hub name (--lora FILE.safetensors, or owner/name)")
    return Lora(name, _cached(name), scale)


def _only_one(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    found = next((file for file in files if file.name == _SAVED_AS), files[0] if len(files) == 1 else None)
    if found is None:
        told = f"holds {len(files)}: {', '.join(file.name for file in files[:3])}" if files else "holds none"
        raise UserError(f"LoRA {folder} should hold one .safetensors file and {told}; give the file with --lora FILE")
    return found


def _cached(name: str) -> Path | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _downloaded(name, local_files_only=True)
    except (LocalEntryNotFoundError, ValueError):
        return None


def _downloaded(name: str, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    folder = snapshot_download(
        repository, revision=revision or None, allow_patterns="*.safetensors", local_files_only=local_files_only
    )
    return _only_one(Path(folder))
