"""Any diffusers text-to-image pipeline: `--generator FOLDER_OR_HUB_NAME`, and what is drawn without that option.

Prompts are made of the network's class names, in the pipeline's own vocabulary. A style token, learned from reference
images or given, stands behind every prompt.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibrate.generators import Generator, find_generator
from calibrate.lora import find_loras, lora_problems
from calibrate.pipeline_files import image_size
from calibrate.pipeline_kind import unfit_for_style
from calibrate.prompts import (
    STYLE_SUFFIX,
    TEMPLATES,
    PromptBook,
    known_templates,
    prompt_names,
    read_templates,
    wordnet_glosses,
)
from calibrate.sources.source import Opening, OpenSource, Source, reference_problems
from calibrate.style_file import style_file_problem
from calibrate.token_limit import fits
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import sha256
from genq_export.models import hub
from genq_export.models import source as models
from genq_export.models.loaded import LoadedModel

if TYPE_CHECKING:
    import torch

    from calibrate.sources.diffusers_images import DiffusersImages

STYLE, STYLE_STATE = "style.safetensors", ".style_state.safetensors"
_KNOWN_WELL, _SPELLED = 2.0, 1.0  # letters by token: of an adjective worth using, of a word the tokenizer merely spells
_BYTES_PER_PIXEL = 2.0  # a photograph as lossless PNG; drawings take less
_REMEDY = "give a local pipeline folder with --generator DIR (or --generator leaves, which needs none)"


class TextToImageSource(Source):
    """Images drawn to prompts by class."""

    def identity(self, config: BuildConfig) -> object:
        """Of the pipeline and of the files of prompts."""
        settings = config.calibrate
        files = [sha256(path) if path and path.is_file() else None for path in (settings.templates, settings.style)]
        return [find_generator(config).identity, *(lora.identity for lora in find_loras(settings.lora)), *files]

    def fetch(self, config: BuildConfig, progress: Progress) -> None:
        """The pipeline and its LoRAs: once here they are told by their content, no longer by their names."""
        generator = find_generator(config)
        if generator.hub is not None and (generator.folder is None or generator.problem() is not None):
            from calibrate.sources.load_pipeline import fetched

            progress.say(f"calibrate: fetching {generator.name}")
            fetched(generator)
        for lora in find_loras(config.calibrate.lora):
            lora.fetch()

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """What the pipeline, its prompts and the disk lack."""
        return [*_generator_problems(config), *_prompt_problems(config), *_disk_problems(config, folder)]

    def estimate(self, config: BuildConfig) -> str | None:
        """Load the pipeline and draw a little with it, where it is on this machine."""
        generator = find_generator(config)
        settings = config.calibrate
        if generator.folder is None:
            return f"how long drawing takes is not measured: {generator.name} is not here yet"
        from calibrate.sources.diffusers_images import load_diffusers_images
        from calibrate.sources.drawing_time import drawing_seconds, in_words

        each = drawing_seconds(load_diffusers_images(generator, settings, config.device))
        drawn = round(settings.images * settings.pool_factor)
        return (
            f"drawing takes about {in_words(drawn * each)} on this machine ({drawn} images of {each:.2g} seconds each,"
            f" measured with few steps on {config.device}; assumed: one process, and no image is drawn again; a style"
            " token, scoring and the later stages are not measured)"
        )

    def open(self, opening: Opening) -> OpenSource:
        """Load the pipeline; learn or load the style token.

        Raises:
            UserError: where it cannot be loaded, or cannot read the network's class names.
        """
        from calibrate.sources.diffusers_images import load_diffusers_images

        config = opening.config
        generator = find_generator(config)
        opening.progress.say(f"calibrate: loading {generator.name}")
        images = load_diffusers_images(
            generator, config.calibrate, config.device, lambda line: opening.progress.say(f"calibrate: {line}")
        )
        book = prompt_book(config, opening.model, images)
        embedding = _style(opening, images, book)
        if embedding is None:
            _say_shortened(opening, book)
            return OpenSource(images, book)
        images.use_style(embedding)
        book = replace(book, suffix=STYLE_SUFFIX)
        _say_shortened(opening, book)
        learned = config.calibrate.style is None
        return OpenSource(images, book, (STYLE,) if learned else ())


TEXT_TO_IMAGE = TextToImageSource()


def prompt_book(config: BuildConfig, model: LoadedModel, images: "DiffusersImages") -> PromptBook:
    """Class names and templates in the generator's own vocabulary.

    Raises:
        UserError: where the network has no class names, or one that the generator cannot read.
    """
    if not model.class_names:
        raise UserError(f"{model.name} has no class names to prompt with: give a file with one name a line (--classes)")
    settings = config.calibrate
    names = prompt_names(model.class_names, _glosses(model) if settings.disambiguate else None)
    unreadable = next((name for name in names if images.letters_per_token(name) <= _SPELLED), None)
    if unreadable is not None:
        raise UserError(
            f"generator {images.name} does not know the class name '{unreadable}' of {model.name}:"
            " give another generator with --generator, or names it knows with --classes FILE"
        )
    templates = read_templates(settings.templates) if settings.templates else TEMPLATES
    known = known_templates(templates, lambda text: images.letters_per_token(text) >= _KNOWN_WELL)
    mixup = settings.prompts == "mixup"
    return PromptBook(names, known, config.seed, mixup, "", fits(images.pipeline), prompt_names(model.class_names))


def _say_shortened(opening: Opening, book: PromptBook) -> None:
    """Say which prompts are longer than the pipeline reads; raises UserError where a class does not fit at all."""
    shortened = book.shortened()
    if shortened:
        opening.progress.say(
            f"calibrate: {len(shortened)} of {len(book.names) * len(book.templates)} prompts are longer than the"
            f" generator reads and are shortened, such as '{shortened[0]}'"
        )


def _glosses(model: LoadedModel) -> tuple[str | None, ...] | None:
    """WordNet's glosses, for a network whose names are timm's ImageNet names."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    if model.class_names != tuple(info.label_descriptions()):
        return None
    return wordnet_glosses(tuple(info.label_descriptions(detailed=True)))


def _style(opening: Opening, images: "DiffusersImages", book: PromptBook) -> "torch.Tensor | None":
    """The style token's embedding: given, or learned by the main process; None where there is to be none."""
    from calibrate.style import check_pipeline, load_style

    settings = opening.config.calibrate
    if settings.style is None and opening.references is None:
        return None
    check_pipeline(images.pipeline)
    if settings.style is not None:
        return load_style(settings.style, images.pipeline)
    if not opening.ranks.is_main:
        return load_style(opening.folder / STYLE, images.pipeline)
    return _learned_style(opening, images, book)


def _learned_style(opening: Opening, images: "DiffusersImages", book: PromptBook) -> "torch.Tensor":
    from calibrate.reference_images import prompts_for
    from calibrate.style import save_style
    from calibrate.textual_inversion import Inversion, default_batch, default_steps, learn_style

    settings, references = opening.config.calibrate, opening.references
    assert references is not None
    size = images.sampler.size
    steps = settings.inversion_steps or default_steps(size)
    embedding = learn_style(
        images.pipeline,
        references.images,
        prompts_for(references, book),
        Inversion(steps, default_batch(size), size, opening.config.seed),
        opening.folder / STYLE_STATE,
        lambda steps, total: opening.progress.track(steps, total, "learning the style token"),
    )
    save_style(opening.folder / STYLE, embedding, images.pipeline, images.name, f"{len(references)} real images")
    return embedding


def _generator_problems(config: BuildConfig) -> list[str]:
    loras = config.calibrate.lora
    found = lora_problems(loras, hub.hub_reachable()) if loras else []
    try:
        generator = find_generator(config)
    except UserError as error:
        return [str(error), *found]
    if generator.folder is not None:
        return [*_folder_problems(config, generator), *found]
    if hub.hub_reachable():
        return found
    return [_out_of_reach(generator), *found]


def _out_of_reach(generator: Generator) -> str:
    repository, _, revision = str(generator.hub).partition("@")
    which = f"{repository} --revision {revision}" if revision else repository
    if generator.checkpoint is not None:
        return (
            f"generator {generator.checkpoint} holds weights alone; what they are of stands in {repository}, which is"
            " not in the Hugging Face cache, and the hub cannot be reached: give the folder of such a pipeline, whose"
            " .json and .txt files suffice, with --generator-config DIR, or fill the cache on a machine with network"
            f" (`hf download {which} --include '*.json' '*.txt'`) and copy the folder that HF_HOME names"
        )
    return (
        f"generator {generator.name} is not in the Hugging Face cache and the hub cannot be reached: {_REMEDY}, or fill"
        f" the cache on a machine with network (`hf download {which}`) and copy the folder that HF_HOME names"
    )


def _folder_problems(config: BuildConfig, generator: Generator) -> list[str]:
    problem = generator.problem()
    if problem is None:
        return _style_problems(config, generator)
    if generator.folder == zoo.pipeline_folder():
        return [f"{problem}; reinstall genq-export"]
    if "incomplete" in problem and generator.hub is not None and hub.hub_reachable():
        return []
    return [f"{problem}; {_REMEDY}"]


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
    style = None if config.calibrate.style is None else style_file_problem(config.calibrate.style)
    found += [] if style is None else [style]
    found += reference_problems(config)
    if not models.has_class_names(config.model):
        found.append(
            f"{config.model.name} has no class names to prompt with: give them with --classes FILE, one name a line"
        )
    return found


def _disk_problems(config: BuildConfig, folder: Path) -> list[str]:
    try:
        size = config.calibrate.size or image_size(find_generator(config).folder)
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
