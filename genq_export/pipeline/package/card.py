"""`README.md` of a package: a model card with the metadata that the hub reads, and our figures as its results."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from genq_export.core.markdown import markdown_text
from genq_export.models.description import NetworkDescription
from genq_export.pipeline.package.settings import PIPELINES, shown_name
from runtime_tests.report.model import Report
from runtime_tests.verify.results import AnswerFigure

_MODEL_CLASSES = {
    "image-classification": "ORTModelForImageClassification",
    "image-segmentation": "ORTModelForSemanticSegmentation",
    "image-feature-extraction": "ORTModelForFeatureExtraction",
}


def model_card(
    report: Report,
    network: NetworkDescription,
    outputs: list[str],
    processor: str | None,
    license_name: str | None,
    base_model: str | None,
    notes: list[str],
    with_float: bool = False,
) -> str:
    """YAML metadata and Markdown.

    Args:
        report: of the build.
        network: its classes and preprocessing.
        outputs: what the packaged model calls them.
        processor: the class of transformers that reads `preprocessor_config.json`; None: there is none.
        license_name: as the hub calls licences; None: not said.
        base_model: the hub's name of the float network; None: it is not of the hub.
        notes: what the package lacks.
        with_float: the float network is there under the name that Optimum takes by itself.
    """
    pipeline = PIPELINES.get(network.task)
    page = _environment().get_template("card.md.j2")
    return str(
        page.render(
            metadata=Markup(_metadata(report, pipeline, license_name, base_model)),
            report=report,
            name=shown_name(report.model),
            network=network,
            pipeline=Markup(pipeline or ""),
            outputs=outputs,
            output=Markup(_class_name(outputs[0])),
            model_class=Markup(_MODEL_CLASSES.get(pipeline or "", "")),
            processor=Markup(_class_name(processor)),
            figures=_figures(report),
            file=Markup(', file_name="model_quantized.onnx", subfolder="onnx"' if with_float else ""),
            notes=notes,
        )
    )


def _class_name(text: str | None) -> str:
    """The name where it is one: it may come from a stranger's settings."""
    return text if text is not None and text.isascii() and text.isidentifier() else ""


def _metadata(report: Report, pipeline: str | None, license_name: str | None, base_model: str | None) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=license_name,
        library_name="onnx",
        pipeline_tag=pipeline,
        base_model=base_model,
        base_model_relation="quantized" if base_model is not None else None,
        tags=["genq-export", "onnx", "quantized", report.bits.name.lower()],
        model_name=shown_name(report.model),
        eval_results=_results(report, pipeline) or None,
    )
    return data.to_yaml()


def _results(report: Report, pipeline: str | None) -> list[Any]:
    """`model-index`: what the deployed file reached, and the float network beside it."""
    from huggingface_hub import EvalResult

    evaluation = report.run.evaluation
    if evaluation is None or pipeline is None:
        return []
    return [
        EvalResult(
            task_type=pipeline, dataset_type=_slug(evaluation.name), dataset_name=evaluation.name,
            metric_type="accuracy", metric_value=round(score.top1, 4), metric_name=f"top-1, {backend}",
        )
        for backend, score in report.accuracy.items()
    ]  # fmt: skip


def _slug(name: str) -> str:
    return "-".join("".join(sign if sign.isalnum() else " " for sign in name.lower()).split()) or "images"


def _figures(report: Report) -> list[tuple[str, str]]:
    """Rows of the card's table, as the report has them."""
    rows = [(f"top-1, {name}", f"{100 * score.top1:.2f} %") for name, score in report.accuracy.items()]
    figures = (*report.run.against_labels, *report.run.answers)
    deployed = [item for item in figures if item.backend == report.run.deployed]
    rows += [(f"{item.title}, {item.n} {item.images}", _value(item)) for item in deployed]
    rows += [
        (f"codes that differ, {item.backend}", f"{item.differing:,} of {item.codes:,}")
        for item in report.run.fidelity
        if item.backend != "reference"
    ]
    return rows


def _value(item: AnswerFigure) -> str:
    return f"{100 * item.value:.2f} %" if item.unit == "%" else f"{item.value:.4g} {item.unit}"


def _environment() -> Environment:
    """Every text that is put in is escaped, unless it is marked as ours."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: (
            value if isinstance(value, Markup) or not isinstance(value, str) else markdown_text(value)
        ),
    )
