"""The model card in a build folder: what the file is and how to run it. The words are in `templates/`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from genq_export.config.build import BuildConfig
from genq_export.core.markdown import markdown_text
from genq_export.models.loaded import LoadedModel
from genq_export.models.preprocessing import in_words
from genq_export.network.free_size import FreeSize


def build_readme(
    config: BuildConfig,
    model: LoadedModel,
    facts: Mapping[str, Any],
    run_instructions: str,
    free_size: FreeSize | None = None,
) -> str:
    """Markdown for `README.md` in the build folder.

    Args:
        config: of the build.
        model: names, classes and preprocessing; their text cannot break the page.
        facts: of the ONNX file, as the target's emitter gives them.
        run_instructions: Markdown of the target, taken as it is.
        free_size: in which other sizes the file takes images.
    """
    return (
        _environment()
        .get_template("build_readme.md.j2")
        .render(
            model=model,
            preprocessing=in_words(model),
            grid=config.quantize.grid_name,
            first_last_bits=config.quantize.first_last_bits,
            target=config.target,
            facts=facts,
            pixels_last=config.export.input == "uint8-nhwc",
            free_size=None if free_size is None else free_size.in_words(),
            run_instructions=Markup(run_instructions),
        )
    )


def _environment() -> Environment:
    """Every text that is put in is escaped, unless it is marked as Markdown of ours."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        finalize=lambda value: (
            value if isinstance(value, Markup) or not isinstance(value, str) else markdown_text(value)
        ),
    )
