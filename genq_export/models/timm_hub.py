"""Networks that timm knows by name, with its weights from the Hugging Face hub or a checkpoint of the user's."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError, reason_of
from genq_export.data.digests import file_digest
from genq_export.models import hub
from genq_export.models.door import Door, Finding, Offer
from genq_export.models.loaded import LoadedModel
from genq_export.models.sizes import Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

_NAME = re.compile(r"\w+(\.[\w.-]+)?")  # an architecture, and the tag of its weights
_SOURCES = ("hf-hub:", "hf_hub:", "local-dir:")
_CONFIG = "config.json"
_IMAGENET_CLASSES = 1000


class TimmDoor(Door):
    """Networks by their timm name, `resnet50` or `resnet50.a1_in1k`; what a program registers with timm is one too.

    And timm's forms for what others have published: `hf-hub:OWNER/NAME`, and `local-dir:FOLDER` with a `config.json`.
    """

    def matches(self, config: ModelConfig) -> bool:
        """Every plain name: the other doors that take such names are asked before."""
        return _NAME.fullmatch(config.name) is not None or config.name.startswith(_SOURCES)

    def identity(self, config: ModelConfig) -> str:
        """The version of timm, which decides architecture and weights of a name; the files of a folder."""
        files = [] if (folder := _folder(config)) is None else _network_files(folder)
        return " ".join((f"timm {version('timm')} {config.name}", *map(file_digest, files)))

    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Create it; its weights are fetched where the hub's cache has none."""
        try:
            module = _created(config, pretrained)
        except Exception as error:
            reason = reason_of(error)
            raise UserError(
                f"cannot load pretrained weights of {config.name}: {reason}; give a file with --weights"
            ) from None
        return described(config.name, module)

    def resized(self, config: ModelConfig, sizes: Sizes) -> LoadedModel | None:
        """With another head, or another first convolution where the architecture has such an option."""
        try:
            module = _created(config, False, num_classes=sizes.classes, in_chans=sizes.channels)
        except Exception:  # whatever an architecture raises that has no such option
            return None
        model = described(config.name, module)
        return replace(model, input_size=(sizes.channels, *model.input_size[1:]))

    def renamed(self, tensors: "Mapping[str, Tensor]", module: "nn.Module") -> "Mapping[str, Tensor] | None":
        """As timm itself does when it loads weights of the architecture that others have published."""
        rename = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
        if rename is None:
            return None
        try:
            found = rename(dict(tensors), module)
        except Exception:  # whatever it raises at names that it does not expect
            return None
        return found if isinstance(found, Mapping) else None

    def knows(self, config: ModelConfig) -> bool:
        """Has timm an architecture of this name, and weights of its tag?"""
        import timm

        if config.name.startswith(_SOURCES):
            return True  # `problems` says what is missing
        try:
            _published(config)
        except RuntimeError:  # no such tag
            return False
        return bool(timm.is_model(config.name.split(".")[0]))

    def names(self) -> Sequence[str]:
        """Every architecture."""
        import timm

        return list(timm.list_models())

    def problems(self, config: ModelConfig) -> list[str]:
        """Weights that do not exist, or are neither in the cache nor to be fetched."""
        if (folder := _folder(config)) is not None:
            return _folder_problems(folder)
        settings = _published(config)
        if settings is None or not settings.has_weights:
            return [f"timm has no pretrained weights for {config.name}: give a checkpoint with --weights FILE"]
        if settings.hf_hub_id and not hub.in_hub_cache(settings.hf_hub_id) and not hub.hub_reachable():
            return [
                f"pretrained weights of {config.name} ({settings.hf_hub_id}) are not in the Hugging Face cache and the"
                " hub cannot be reached: give a checkpoint with --weights FILE, or fill the cache on a machine with"
                f" network (`hf download {settings.hf_hub_id.rstrip('/')}`) and copy the folder that HF_HOME names"
            ]
        return []

    def has_class_names(self, config: ModelConfig) -> bool:
        """ImageNet's thousand names come with timm."""
        if config.name.startswith(_SOURCES):
            return False
        settings = _published(config) if self.knows(config) else None
        # Unknown networks are reported by `check_name`.
        return settings is None or settings.num_classes == _IMAGENET_CLASSES or bool(settings.label_names)

    def offers(self, search: str) -> list[Offer]:
        """Those with weights whose name fits; none of a thousand where nothing is searched for."""
        import timm

        weights, generator = "Hugging Face hub, or --weights FILE", "Stable Diffusion v1-5, or --generator DIR, leaves"
        form = "NAME, hf-hub:OWNER/NAME, local-dir:FOLDER"
        found = timm.list_models(f"*{search}*", pretrained=True) if search else [form]
        return [Offer(name, weights, generator) for name in found]

    def findings(self) -> list[Finding]:
        """How many weights are in the hub's cache."""
        cached = f"{hub.cached_repositories('timm')} of their weights in the hub cache"
        return [Finding("networks of timm", "works", f"timm {version('timm')}, {cached}")]


TIMM = TimmDoor()


def described(name: str, module: "nn.Module") -> LoadedModel:
    """Read input size, preprocessing and class names off a network whose `pretrained_cfg` is timm's."""
    from timm.data.config import resolve_data_config

    data: dict[str, Any] = resolve_data_config({}, model=module)
    classes = int(getattr(module, "num_classes", 0) or data.get("num_classes", 0))
    return LoadedModel(
        name=name,
        module=module,
        input_size=tuple(data["input_size"]),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        crop_pct=float(data["crop_pct"]),
        interpolation=str(data["interpolation"]),
        class_names=_class_names(module, classes),
        classes=classes,
    )


def _class_names(module: "nn.Module", classes: int) -> tuple[str, ...] | None:
    labels = (getattr(module, "pretrained_cfg", None) or {}).get("label_names")
    if labels and len(labels) == classes:
        return tuple(labels)
    if classes == _IMAGENET_CLASSES:
        from timm.data.imagenet_info import ImageNetInfo

        return tuple(ImageNetInfo().label_descriptions())
    return None


def _created(config: ModelConfig, pretrained: bool, **sizes: Any) -> "nn.Module":
    """The network; for the size and the channels that are given, if they are, and for those of a checkpoint."""
    import timm
    from timm.models import resolve_model_input_args

    if config.input_size is None:
        return timm.create_model(config.name, pretrained=pretrained, **sizes)
    settings = resolve_model_input_args(config.name, {"input_size": config.input_size})
    return timm.create_model(pretrained=pretrained, **(settings | sizes))


def _published(config: ModelConfig) -> Any:
    """What timm knows of the weights of a name; None where there are none."""
    import timm
    from timm.models import PretrainedCfg

    if config.name.startswith(_SOURCES):
        return PretrainedCfg(hf_hub_id=config.name.partition(":")[2].partition("@")[0])
    return timm.get_pretrained_cfg(config.name)


def _folder(config: ModelConfig) -> Path | None:
    """The folder that `local-dir:` names."""
    source, _, place = config.name.partition(":")
    return Path(place) if source == "local-dir" else None


def _folder_problems(folder: Path) -> list[str]:
    if not (folder / _CONFIG).is_file():
        return [f"{folder} has no {_CONFIG}: local-dir: takes a folder as timm saves it (`timm.models.save_for_hf`)"]
    if len(_network_files(folder)) < 2:
        return [f"{folder} has no weights (.safetensors, .pth, .bin): give a checkpoint with --weights FILE"]
    return []


def _network_files(folder: Path) -> list[Path]:
    """Those that decide what is loaded."""
    weights = (path for suffix in ("safetensors", "pth", "bin") for path in folder.glob(f"*.{suffix}"))
    return [path for path in (folder / _CONFIG, *sorted(weights)) if path.is_file()]
