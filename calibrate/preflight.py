"""What the calibrate stage will need, looked at before anything slow starts. Free of torch until it must ask timm."""

import shutil
from pathlib import Path

from calibrate.generators import (
    WITHOUT_PIPELINE,
    Generator,
    drawn_size,
    find_generator,
    folder_identity,
    folder_problem,
    unfit_for_style,
)
from calibrate.prompts import read_templates
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.workspace import fingerprint, sha256
from genq_export.models import hub
from genq_export.models import source as models

_BYTES_PER_PIXEL = 2.0  # a photograph as lossless PNG; drawings take less
_REMEDY = "give a local pipeline folder with --generator DIR (or --generator leaves, which needs none)"


def identity(config: BuildConfig) -> str:
    """Hex digest of everything outside the config itself that decides the set: the files it names."""
    settings = config.calibrate
    real = folder_identity(settings.real) if settings.real and settings.real.is_dir() else None
    if settings.generator in WITHOUT_PIPELINE:
        return fingerprint(settings.generator, models.identity(config.model), real)
    files = [sha256(path) if path and path.is_file() else None for path in (settings.templates, settings.style)]
    return fingerprint(find_generator(config).identity, *files, real)


def problems(config: BuildConfig, folder: Path = Path()) -> list[str]:
    """Everything that would keep the stage from working, one sentence each with its remedy; nothing is downloaded.

    folder: where the build will be written; its disk is looked at.
    """
    if config.calibrate.generator in WITHOUT_PIPELINE:
        return [*_unused_style(config), *_real_problems(config)]
    return [*_generator_problems(config), *_prompt_problems(config), *_disk_problems(config, folder)]


def _generator_problems(config: BuildConfig) -> list[str]:
    try:
        generator = find_generator(config)
    except UserError as error:
        return [str(error)]
    if generator.folder is not None:
        problem = folder_problem(generator.folder)
        if problem is None:
            return _style_problems(config, generator)
        if config.calibrate.generator is None and generator.name == zoo.ZOO_PIPELINE:
            return [f"{problem}; reinstall genq-export"]
        if generator.folder.parent.name != "snapshots" or not hub.hub_reachable():
            return [f"{problem}; {_REMEDY}" if "incomplete" in problem else problem]
        return []
    if hub.hub_reachable():
        return []
    return [
        f"generator {generator.name} is not in the Hugging Face cache and the hub cannot be reached: {_REMEDY}, or fill"
        f" the cache on a machine with network (`hf download {generator.name}`) and copy the folder that HF_HOME names"
    ]


def _style_problems(config: BuildConfig, generator: Generator) -> list[str]:
    if config.calibrate.real is None and config.calibrate.style is None:
        return []
    problem = unfit_for_style(generator.index)
    return [] if problem is None else [problem]


def _prompt_problems(config: BuildConfig) -> list[str]:
    found = []
    if config.calibrate.templates is not None:
        try:
            read_templates(config.calibrate.templates)
        except UserError as error:
            found.append(str(error))
    if config.calibrate.style is not None and not config.calibrate.style.is_file():
        found.append(f"style token {config.calibrate.style} does not exist (--style takes a .safetensors file)")
    found += _real_problems(config)
    if not _has_class_names(config):
        found.append(
            f"{config.model.name} has no class names to prompt with: give them with --classes FILE, one name a line"
        )
    return found


def _real_problems(config: BuildConfig) -> list[str]:
    if config.calibrate.real is None:
        return []
    from genq_export.data.decode import list_images, read_image

    try:
        for path in list_images(config.calibrate.real):
            read_image(path)
    except UserError as error:
        return [f"{error} (--real takes a folder of a few real images, one subfolder a class)"]
    return []


def _unused_style(config: BuildConfig) -> list[str]:
    """Without a pipeline no style can be learned or used; real images may still join the set."""
    settings = config.calibrate
    if settings.style is None and (settings.real is None or settings.join_real):
        return []
    option = "a style token" if settings.style is not None else "--real without calibrate.join_real"
    return [f"generator {settings.generator} has no use for {option}: give a text-to-image pipeline with --generator"]


def _has_class_names(config: BuildConfig) -> bool:
    name = config.model.name
    if config.model.classes is not None or name in zoo.ZOO_MODELS:
        return True
    import timm

    settings = timm.get_pretrained_cfg(name) if timm.is_model(name.split(".")[0]) else None
    # Unknown models are reported by the model's own preflight; ImageNet's thousand names come with timm.
    return settings is None or settings.num_classes == 1000 or bool(settings.label_names)


def _disk_problems(config: BuildConfig, folder: Path) -> list[str]:
    try:
        size = drawn_size(config, find_generator(config).folder)
    except UserError:
        return []
    pool = int(config.calibrate.images * config.calibrate.pool_factor) + 1
    needed = int(pool * size * size * _BYTES_PER_PIXEL) + (1 << 20)
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free >= needed:
        return []
    return [
        f"{pool} images of {size} pixels need about {needed >> 20} MiB and {place} has {free >> 20} MiB free:"
        " free some, give another folder with -o, or draw fewer with --images"
    ]
