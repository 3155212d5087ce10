"""From a build config to the image source it names, and to what that source is asked for."""

from typing import TYPE_CHECKING

from calibrate.generators import DISTILL, find_generator
from calibrate.prompts import TEMPLATES, PromptBook, known_templates, prompt_names, read_templates, wordnet_glosses
from genq_export import models
from genq_export.config import BuildConfig, CalibrateConfig
from genq_export.errors import UserError
from genq_export.models import LoadedModel
from genq_export.progress import Progress

if TYPE_CHECKING:
    from calibrate.generate import TextToImage
    from calibrate.pool import ImageSource

_KNOWN_WELL, _SPELLED = 2.0, 1.0  # letters by token: of an adjective worth using, of a word the tokenizer merely spells


def open_source(config: BuildConfig, model: LoadedModel, progress: Progress) -> "tuple[ImageSource, PromptBook]":
    """Load what draws the images, and what it will be asked for.

    Raises UserError where it cannot be loaded or cannot serve this network.
    """
    if config.calibrate.generator == DISTILL:
        from calibrate.distill import DistilledImages

        source = DistilledImages(model, models.identity(config.model), config.calibrate, config.device)
        return source, PromptBook(class_names(model), ("",), config.seed)
    from calibrate.generate import load_text_to_image

    generator = find_generator(config)
    progress.say(f"calibrate: loading {generator.name}")
    pipeline = load_text_to_image(generator, config.calibrate, config.device)
    return pipeline, prompt_book(config, model, pipeline)


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
