"""Where a network comes from: the door that takes its name, and a checkpoint and class names of the user's behind it.

What comes out is a float32 network in eval mode with its preprocessing and class names. Importing this module does not
import torch: `identity` must answer quickly for a build that has nothing to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.config.model import ModelConfig
from genq_export.config.registry import DOORS
from genq_export.core.errors import UserError, problems_of
from genq_export.core.registry import resolve
from genq_export.data.class_names import read_class_names
from genq_export.data.digests import file_digest
from genq_export.models.answers import classes_of, tried
from genq_export.models.checkpoint import weights_digest, weights_files
from genq_export.models.door import Door
from genq_export.models.loaded import LoadedModel
from genq_export.models.near_names import near_names
from genq_export.models.own_module import described_module
from genq_export.models.preprocessing import given_identity, with_given
from genq_export.models.sizes import Sizes
from genq_export.models.weights import with_weights

if TYPE_CHECKING:
    from torch import nn

    from genq_export.data.evaluation import EvaluationSet
    from genq_export.data.raw import Reading


_CLASSES = "classification"


def identity(config: ModelConfig) -> str:
    """Return a string that changes when the network would: part of every stage's fingerprint.

    Raises:
        UserError: where a file of the user's cannot be read, or no door takes the name.
    """
    weights = "" if config.weights is None else f" weights {weights_digest(config.weights)}"
    classes = "" if config.classes is None else f" classes {file_digest(config.classes)}"
    return f"{door_for(config).identity(config)}{weights}{classes}{given_identity(config)}"


def problems(config: ModelConfig, module: "nn.Module | None" = None) -> list[str]:
    """List everything that would keep `load_model` from working, a sentence each; nothing is downloaded to find out."""
    found = []
    if config.weights is not None:
        found += problems_of(weights_files, config.weights)
    if config.classes is not None and not config.classes.is_file():
        found.append(f"class-name file {config.classes} does not exist (--classes takes a text file, one name a line)")
    elif config.classes is not None:
        found += problems_of(read_class_names, config.classes)
    if module is not None:
        return found
    found += door_for(config).architecture_problems(config)
    if config.weights is None and not found:
        found += door_for(config).problems(config)
    return found


def check_name(config: ModelConfig) -> None:
    """Raise UserError, with names that are near, where no door knows the network."""
    door = _matching(config)
    if door is None or not door.knows(config):
        raise UserError(_unknown_model(config.name))


def load_model(config: ModelConfig, module: "nn.Module | None" = None) -> LoadedModel:
    """Load the network on the CPU, and try it once.

    Args:
        config: the network.
        module: what a Python program gave as the network, with its weights.

    Raises:
        UserError: for an unknown name, a checkpoint that cannot be read or does not fit, a class list of the wrong
            length, or a network that takes no pictures or whose outputs are not those of the task.
    """
    check_name(config)
    door = door_for(config)
    if module is not None:
        model = described_module(config, config.title, module)
    else:
        model = door.load(config, pretrained=True) if config.weights is None else with_weights(door, config)
    ready = model.module.eval().requires_grad_(False).float()
    model = with_given(config, replace(model, module=ready))
    model = door.answering(config, model) if module is None else model
    return _with_class_names(config, _as_tried(config, model))


def with_module(config: ModelConfig, module: "nn.Module") -> LoadedModel:
    """Give a module that stands for the network its preprocessing and class names: no weights are looked for.

    A class-name file that is not on this machine counts as none.

    Raises:
        UserError: for an unknown name.
    """
    check_name(config)
    if config.classes is not None and not config.classes.is_file():
        config = config.model_copy(update={"classes": None})
    model = _sized_as(config, module) if config.weights is not None else door_for(config).load(config, pretrained=False)
    return _with_class_names(config, with_given(config, replace(model, module=module)))


def known_classes(config: ModelConfig) -> LoadedModel | None:
    """The network's classes and preprocessing without its weights; None where they are not known before these."""
    from torch import nn

    told = config.task or door_for(config).task(config) or _CLASSES
    if config.outputs is not None or told != _CLASSES:
        return None
    try:
        if config.weights is not None:
            return _as_its_weights_say(config, weights_digest(config.weights))
        return with_module(config, nn.Identity())
    except UserError:
        return None


def with_classes(config: ModelConfig) -> LoadedModel:
    """The network's preprocessing with the user's class names, however many they are: to look at labelled images.

    Raises:
        UserError: for an unknown name, or a class file that cannot be read.
    """
    from torch import nn

    own = with_module(config.model_copy(update={"classes": None}), nn.Identity())
    if config.classes is None:
        return own
    names = read_class_names(config.classes).names
    return replace(own, class_names=names, classes=len(names))


def runs_code(config: ModelConfig) -> bool:
    """Would loading the network run code of the user's?"""
    door = _matching(config)
    return door is not None and door.runs_code


def has_class_names(config: ModelConfig) -> bool:
    """Will the network have class names? Only weights of the user's are looked at to find out."""
    if config.classes is not None:
        return True
    known = None if config.weights is None else known_classes(config)
    return door_for(config).has_class_names(config) if known is None else known.class_names is not None


def evaluation_set(model: LoadedModel, source: Path | None, reading: "Reading | None" = None) -> "EvaluationSet | None":
    """Read the images given, else those that the network's door has for it, else None.

    Args:
        model: its class names and preprocessing decide what labels mean and how images are read.
        source: as the network's task takes it (`Task.read_evaluation_set`).
        reading: what the user says of it.

    Raises:
        UserError: where it cannot be read or its labels are not classes of the network.
    """
    if source is not None:
        from genq_export.data.raw import Reading
        from genq_export.tasks.task import task_of

        return task_of(model.task).read_evaluation_set(source, model, reading or Reading())
    door = _matching(ModelConfig(name=model.name))
    return None if door is None else door.evaluation_set(model.name)


def door_path(config: ModelConfig) -> str:
    """Return the import path of the door that takes the network: whose code decides what comes in.

    Raises:
        UserError: where none does.
    """
    for path, door in _doors():
        if door.matches(config):
            return path
    raise UserError(_unknown_model(config.name))


def door_for(config: ModelConfig) -> Door:
    """Return the door that takes the network; raises UserError where none does."""
    door: Door = resolve(door_path(config))
    return door


def all_doors() -> list[Door]:
    """Return every door, in the order in which they are asked."""
    return [door for _, door in _doors()]


def _doors() -> Iterator[tuple[str, Door]]:
    for path in DOORS.values():
        yield path, resolve(path)


def _matching(config: ModelConfig) -> Door | None:
    return next((door for door in all_doors() if door.matches(config)), None)


def _unknown_model(name: str) -> str:
    if Path(name).is_file():
        return (
            f"{name} is no network: networks come as FILE.onnx, FILE.pt2 or FILE.py:FUNCTION, weights alone with the"
            " architecture that they are for (`genq-export build ARCHITECTURE --weights FILE`)"
        )
    close = near_names(name, (door.names() for door in all_doors()))
    hint = f"did you mean {', '.join(close)}?" if close else "`genq-export models` lists what can be built"
    return f"unknown model '{name}': {hint}"


@lru_cache(maxsize=1)  # preflight asks for it several times
def _as_its_weights_say(config: ModelConfig, _: str) -> LoadedModel:
    """The network without its module, sized by its weights, whose digest is the second argument."""
    from torch import nn

    return replace(load_model(config), module=nn.Identity())


def _sized_as(config: ModelConfig, module: "nn.Module") -> LoadedModel:
    """The network in the sizes of a module that stands for it: its own weights, which decide them, may not be here."""
    door = door_for(config)
    model = door.load(config, pretrained=False)
    kernel = next((tensor for tensor in module.state_dict().values() if tensor.ndim == 4), None)
    channels = model.input_size[0] if kernel is None else int(kernel.shape[1])
    sizes = Sizes(classes_of(config.name, module, (channels, *model.input_size[1:])) or model.classes, channels)
    return model if sizes == Sizes.of(model) else door.resized(config, sizes) or replace(model, classes=sizes.classes)


def _as_tried(config: ModelConfig, model: LoadedModel) -> LoadedModel:
    """Try the network, and believe what it returns."""
    from genq_export.network.probabilities import hides_logits
    from genq_export.tasks.task import task_by_shape, task_of

    found = tried(model.name, model.module, model.input_size, config.outputs)
    headless = model.classes == 0 and [len(shape) for shape in found.shapes.values()] == [1]  # a name of timm's
    known = door_for(config).task(config)
    task = task_of(config.task or known or task_by_shape(found.shapes, found.inner or headless))
    if not task.fits(found.shapes):
        raise UserError(f"{model.name} gives {_shown(found.shapes)}, which is no {task.title}: {task.expected}")
    classes = task.classes(found.shapes)
    names = model.class_names if model.class_names is not None and len(model.class_names) == classes else None
    guessed = () if config.task or known or task.has_logits else (_guessed(model.name, found.shapes, task.title),)
    return replace(
        model,
        module=found.module,
        outputs=found.shapes,
        task=task.name,
        classes=classes,
        class_names=names,
        notes=(*model.notes, *found.notes, *guessed),
        hides_logits=task.gives_logits and hides_logits(found.module, model.input_size, task.logits),
    )


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"'{name}' {['images', *shape]}".replace("'images'", "images") for name, shape in shapes.items())


def _guessed(name: str, shapes: Mapping[str, tuple[int, ...]], title: str) -> str:
    return f"{name} gives {_shown(shapes)}: taken as {title}, by its shape (--task names another)"


def _with_class_names(config: ModelConfig, model: LoadedModel) -> LoadedModel:
    """Put the user's class names in place of the network's own."""
    if config.classes is None:
        return model
    names = read_class_names(config.classes).names
    if model.classes == 0:
        raise UserError(f"{config.classes} names classes, and the network {config.name} has none: leave --classes out")
    if len(names) != model.classes:
        raise UserError(
            f"{config.classes} names {len(names)} classes, the network {config.name} has {model.classes}: give a name"
            " for each"
        )
    return replace(model, class_names=names)
