"""Networks as transformers saves them: a folder, or a repository of the Hugging Face hub, `microsoft/resnet-50`.

The image processor is the preprocessing, `id2label` the class names. Weights are safetensors; code that comes with a
network is never run, and a folder that needs some is refused.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError, reason_of
from genq_export.data.digests import file_digest
from genq_export.models import hub
from genq_export.models.door import ANY_GENERATOR, Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.processor import Colours, colours_of, transform_of
from genq_export.models.transformers_tasks import Kind, kind_of, suffixes

if TYPE_CHECKING:
    from torch import nn

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_CONFIG, _PROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "*.safetensors"
_CLASSIFIER = "ForImageClassification"
_SEES = {"num_channels", "image_size", "patch_size", "backbone", "backbone_config", "vision_config"}  # of images


class TransformersDoor(Door):
    """Networks of transformers' own architectures that take an image alone (`transformers_tasks`)."""

    def matches(self, config: ModelConfig) -> bool:
        """A folder, or OWNER/NAME; a folder beside the command needs a slash as well: `./NAME`."""
        return _folder(config) is not None or _HUB_NAME.fullmatch(config.name) is not None

    def identity(self, config: ModelConfig) -> str:
        """The version of transformers, and the files of a folder."""
        folder = _folder(config)
        names = () if folder is None else (_CONFIG, _PROCESSOR, *sorted(path.name for path in folder.glob(_WEIGHTS)))
        files = (folder / name for name in names) if folder is not None else ()
        digests = (file_digest(path) for path in files if path.is_file())
        return " ".join((f"transformers {version('transformers')} {config.title}", *digests))

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Create it; its files are fetched where the hub's cache has none."""
        for problem in self.architecture_problems(config):
            raise UserError(problem)
        from genq_export.models.transformers_outputs import TransformersOutputs

        settings = _settings(config)
        kind = _kind(_architecture(settings.architectures))
        module = _network(config, kind, settings, pretrained)
        processor, colours = _processor(config, settings)
        size = config.input_size or colours.input_size or _square(settings)
        if size is None:
            raise UserError(f"{config.name} does not say what size it takes: give --input-size CHANNELS,HEIGHT,WIDTH")
        own = processor is not None and size == colours.input_size
        return LoadedModel(
            name=config.title,
            module=TransformersOutputs(module, kind, settings),
            input_size=size,
            mean=colours.mean,
            std=colours.std,
            crop_pct=1.0,
            interpolation="bicubic",
            class_names=None if kind.task == "embedding" else _class_names(settings),
            classes=0 if kind.task == "embedding" else int(settings.num_labels),
            layout=colours.layout,
            processor=processor if own else None,
            model_type=str(settings.model_type),
            notes=() if own else (f"{config.title}: images are resized and cropped to {size[1]} x {size[2]}",),
        )

    def task(self, config: ModelConfig) -> str | None:
        """By the class that its config names."""
        folder = _folder(config) or _cached(config)
        return None if folder is None else _kind(_architecture(_read(folder / _CONFIG).get("architectures"))).task

    def architecture_problems(self, config: ModelConfig) -> list[str]:
        """What a folder would have to be trusted with, or lacks; the same of what the hub's cache holds."""
        folder = _folder(config) or _cached(config)
        return [] if folder is None else _folder_problems(folder, config.name)

    def problems(self, config: ModelConfig) -> list[str]:
        """Weights that are not there."""
        folder = _folder(config)
        if folder is not None:
            missing = not any(folder.glob(_WEIGHTS))
            return [f"{folder} has no {_WEIGHTS}: save the network anew with `save_pretrained`"] if missing else []
        if hub.in_hub_cache(config.name) or hub.hub_reachable():
            return []
        return [
            f"{config.name} is not in the Hugging Face cache and the hub cannot be reached: fill the cache on a machine"
            f" with network (`hf download {config.name}`) and copy the folder that HF_HOME names"
        ]

    def has_class_names(self, config: ModelConfig) -> bool:
        """As its config says; a config that has still to be fetched is taken to have them."""
        folder = _folder(config) or _cached(config)
        labels = None if folder is None else _read(folder / _CONFIG).get("id2label")
        return folder is None or (isinstance(labels, dict) and not _numbered(list(map(str, labels.values()))))

    def offers(self, search: str) -> list[Offer]:
        """The form of its names."""
        return [] if search else [Offer("./FOLDER, OWNER/NAME", "safetensors; Hugging Face hub", ANY_GENERATOR)]

    def findings(self) -> list[Finding]:
        """What reads them."""
        return [
            Finding("networks of transformers", "works", f"transformers {version('transformers')}, from safetensors")
        ]


TRANSFORMERS = TransformersDoor()


def _folder(config: ModelConfig) -> Path | None:
    """The folder that a name with a slash stands for, if there is one."""
    return Path(config.name) if "/" in config.name and Path(config.name).is_dir() else None


def _cached(config: ModelConfig) -> Path | None:
    """The folder of the hub's cache that holds the config of a repository."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(config.name, _CONFIG) if _HUB_NAME.fullmatch(config.name) else None
    return Path(found).parent if isinstance(found, str) else None


def _folder_problems(folder: Path, name: str) -> list[str]:
    """Everything for which a folder is refused; its weights are looked at elsewhere."""
    if not (folder / _CONFIG).is_file():
        return [f"{name} has no {_CONFIG}: a folder of a network is one that transformers' `save_pretrained` wrote"]
    settings, processor = _read(folder / _CONFIG), _read(folder / _PROCESSOR)
    if "auto_map" in settings or "auto_map" in processor:
        return [f"{name} comes with code of its own (auto_map), never run here: give the network as FILE.py:FUNCTION"]
    if "architecture" in settings and "model_type" not in settings:
        return [f"{name} is a network of timm's: give local-dir:{name} (or hf-hub:{name})"]
    if (folder / "adapter_config.json").is_file():
        return [f"{name} is an adapter of another network: merge it (`merge_and_unload`) and save that"]
    if "quantization_config" in settings:
        return [f"{name} is quantized already: give the network in full precision"]
    architecture = _architecture(settings.get("architectures"))
    if kind_of(architecture) is None or not _SEES & settings.keys():
        return [f"{name} is {architecture}, and no network that takes an image alone ({suffixes()})"]
    return []


def _architecture(named: Any) -> str:
    """The class that a config names; that of a classifier where it names none."""
    return str(named[0]) if isinstance(named, list) and named else _CLASSIFIER


def _kind(architecture: str) -> Kind:
    found = kind_of(architecture)
    assert found is not None
    return found


def _read(path: Path) -> dict[str, Any]:
    """A JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings")
    return content


def _settings(config: ModelConfig) -> Any:
    from transformers import AutoConfig

    with _told(config, "its config cannot be read"):
        return AutoConfig.from_pretrained(config.name, trust_remote_code=False)


def _network(config: ModelConfig, kind: Kind, settings: Any, pretrained: bool) -> "nn.Module":
    """Attention in its plain form: what it multiplies is seen, and no kernel is fetched for it."""
    import torch
    import transformers

    maker = getattr(transformers, kind.auto or _architecture(settings.architectures), None)
    if maker is None:
        raise UserError(f"{config.name} is {_architecture(settings.architectures)}, which this transformers has not")
    plain: dict[str, Any] = {"trust_remote_code": False, "attn_implementation": "eager", "dtype": torch.float32}
    with _told(config, "its weights cannot be loaded"), _without_bars():
        if not pretrained:
            return (maker.from_config if kind.auto else maker._from_config)(settings, **plain)  # type: ignore[no-any-return]
        found, report = maker.from_pretrained(
            config.name, config=settings, use_safetensors=True, output_loading_info=True, **plain
        )
    for fault in ("missing_keys", "mismatched_keys"):
        if report[fault]:
            first = sorted(map(str, report[fault]))[0]
            raise UserError(
                f"the weights of {config.name} are not whole: '{first}' ({len(report[fault])} such tensors)"
            )
    return found  # type: ignore[no-any-return]


def _processor(config: ModelConfig, settings: Any) -> tuple[dict[str, Any] | None, Colours]:
    """Settings of the image processor, and what it does; plain pixels where there is none."""
    from transformers import AutoImageProcessor

    try:
        with _without_bars():
            found = AutoImageProcessor.from_pretrained(config.name, config=settings, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if config.mean is None or config.std is None:
            raise UserError(
                f"{config.name} has no image processor ({reason_of(error)}): give --input-size, --mean and --std"
            ) from None
        channels = int(getattr(settings, "num_channels", 3))
        return None, Colours(None, (0.0,) * channels, (1.0,) * channels, "RGB")
    told = json.loads(found.to_json_string())
    return told, colours_of(transform_of(told))


def _square(settings: Any) -> tuple[int, int, int] | None:
    """The size that the network's own config has, where that is one number or two."""
    size, channels = getattr(settings, "image_size", None), int(getattr(settings, "num_channels", 3))
    if isinstance(size, int):
        return (channels, size, size)
    return (channels, *size) if isinstance(size, list | tuple) and len(size) == 2 else None


def _class_names(settings: Any) -> tuple[str, ...] | None:
    labels = [str(settings.id2label.get(number, "")) for number in range(settings.num_labels)]
    return None if _numbered(labels) or "" in labels else tuple(labels)


def _numbered(labels: list[str]) -> bool:
    """Are these the names that transformers writes where nobody gave any?"""
    return all(re.fullmatch(r"LABEL_\d+", label) for label in labels)


@contextmanager
def _told(config: ModelConfig, what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # transformers raises many kinds
        raise UserError(f"{config.name}: {what}: {reason_of(error)}") from None


@contextmanager
def _without_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
