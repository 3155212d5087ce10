"""From a build config to the image source it names, and to what that source is asked for."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibrate.generators import DISTILL, LEAVES, find_generator
from calibrate.prompts import (
    STYLE_SUFFIX,
    TEMPLATES,
    UNLABELLED,
    PromptBook,
    known_templates,
    prompt_names,
    read_templates,
    wordnet_glosses,
)
from genq_export.config.build import BuildConfig
from genq_export.config.calibrate import CalibrateConfig
from genq_export.core.distributed import Ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models import source as models
from genq_export.models.loaded import LoadedModel

if TYPE_CHECKING:
    import torch

    from calibrate.pool import ImageSource
    from calibrate.reference_images import RealImages
    from calibrate.sources.text_to_image import TextToImage

STYLE, STYLE_STATE = "style.safetensors", ".style_state.safetensors"
_KNOWN_WELL, _SPELLED = 2.0, 1.0  # letters by token: of an adjective worth using, of a word the tokenizer merely spells


def open_source(
    config: BuildConfig, model: LoadedModel, real: "RealImages | None", folder: Path, ranks: Ranks, progress: Progress
) -> "tuple[ImageSource, PromptBook]":
    """Load what draws the images, and what it will be asked for; learn or load the style token.

    real: what to learn the token from. folder: the calibration set's, where the token is written.

    Raises UserError where it cannot be loaded or cannot serve this network.
    """
    if config.calibrate.generator == DISTILL:
        from calibrate.sources.distillation import DistilledImages

        distilled = DistilledImages(model, models.identity(config.model), config.calibrate, config.device)
        return distilled, PromptBook(class_names(model), ("",), config.seed)
    if config.calibrate.generator == LEAVES:
        from calibrate.sources.dead_leaves import LeavesImages

        return LeavesImages(*model.input_size[1:]), PromptBook(UNLABELLED, ("",), config.seed)
    from calibrate.sources.text_to_image import load_text_to_image

    generator = find_generator(config)
    progress.say(f"calibrate: loading {generator.name}")
    source = load_text_to_image(generator, config.calibrate, config.device)
    book = prompt_book(config, model, source)
    embedding = _style(config, source, real, book.names, folder, ranks, progress)
    if embedding is None:
        return source, book
    source.use_style(embedding)
    return source, replace(book, suffix=STYLE_SUFFIX)


def _style(
    config: BuildConfig,
    source: "TextToImage",
    real: "RealImages | None",
    names: tuple[str, ...],
    folder: Path,
    ranks: Ranks,
    progress: Progress,
) -> "torch.Tensor | None":
    from calibrate.reference_images import prompts_for
    from calibrate.style import check_pipeline, load_style, save_style
    from calibrate.textual_inversion import Inversion, default_batch, default_steps, learn_style

    settings = config.calibrate
    if settings.style is None and real is None:
        return None
    check_pipeline(source.pipeline)
    if settings.style is not None:
        return load_style(settings.style, source.pipeline)
    if not ranks.is_main:
        return load_style(folder / STYLE, source.pipeline)
    assert real is not None
    size = source.sampler.size
    inversion = Inversion(settings.inversion_steps or default_steps(size), default_batch(size), size, config.seed)
    embedding = learn_style(
        source.pipeline,
        real.paths,
        prompts_for(real, names),
        inversion,
        folder / STYLE_STATE,
        lambda steps, total: progress.track(steps, total, "learning the style token"),
    )
    save_style(folder / STYLE, embedding, source.pipeline, source.name, f"{len(real)} real images")
    return embedding


def drawn_classes(config: BuildConfig, model: LoadedModel) -> tuple[str, ...]:
    """What each class of images to be drawn is called: those of the network, or one for images that show none."""
    return UNLABELLED if config.calibrate.generator == LEAVES else class_names(model)


def class_names(model: LoadedModel) -> tuple[str, ...]:
    """The network's class names, "class 7" where it has none."""
    return model.class_names or tuple(f"class {label}" for label in range(model.classes))


def filters(config: BuildConfig) -> CalibrateConfig:
    """The calibrate settings with the filters that apply.

    Distilled images are made to have the network's statistics; to filter by them would only throw images away.
    """
    if config.calibrate.generator != DISTILL:
        return config.calibrate
    return config.calibrate.model_copy(update={"energy_keep": 1.0, "distribution_keep": 1.0, "energy_max": None})


def prompt_book(config: BuildConfig, model: LoadedModel, source: "TextToImage") -> PromptBook:
    """Class names and templates in the generator's own vocabulary.

    Raises UserError where the network has no class names, or one that the generator cannot read.
    """
    if not model.class_names:
        raise UserError(f"{model.name} has no class names to prompt with: give a file with one name a line (--classes)")
    settings = config.calibrate
    names = prompt_names(model.class_names, _glosses(model) if settings.disambiguate else None)
    unreadable = next((name for name in names if source.letters_per_token(name) <= _SPELLED), None)
    if unreadable is not None:
        raise UserError(
            f"generator {source.name} does not know the class name '{unreadable}' of {model.name}:"
            " give another generator with --generator, or names it knows with --classes FILE"
        )
    templates = read_templates(settings.templates) if settings.templates else TEMPLATES
    known = known_templates(templates, lambda text: source.letters_per_token(text) >= _KNOWN_WELL)
    return PromptBook(names, known, config.seed, mixup=settings.prompts == "mixup")


def _glosses(model: LoadedModel) -> tuple[str | None, ...] | None:
    """WordNet's glosses, for a network whose names are timm's ImageNet names."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    if model.class_names != tuple(info.label_descriptions()):
        return None
    return wordnet_glosses(tuple(info.label_descriptions(detailed=True)))
