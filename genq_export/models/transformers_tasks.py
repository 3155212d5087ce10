"""What networks of transformers give, by the kind of network that their config names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genq_export.network.outputs import Answer

_SIGMOID = ("rt_detr", "rt_detr_v2", "d_fine", "deformable_detr", "conditional_detr", "grounding_dino")


@dataclass(frozen=True)
class Kind:
    """A kind of network. suffix: of the class that a config names. auto: the class of transformers that makes it.

    pick: the outputs, out of what the network returns and its config.
    """

    suffix: str
    auto: str
    task: str
    pick: Callable[[Any, Any], Answer]


def kind_of(architecture: str) -> Kind | None:
    """The kind that a class belongs to; None: one that takes no image alone."""
    return next((kind for kind in _KINDS if architecture.endswith(kind.suffix)), None)


def suffixes() -> str:
    """The kinds, to be read: `…ForImageClassification, …`."""
    return ", ".join(f"…{kind.suffix}" for kind in _KINDS)


def _logits(answer: Any, _settings: Any) -> Answer:
    logits: Answer = answer.logits
    return logits


def _masks(answer: Any, _settings: Any) -> Answer:
    return {"masks": answer.logits}


def _depth(answer: Any, _settings: Any) -> Answer:
    return {"depth": answer.predicted_depth.unsqueeze(1)}


def _detections(answer: Any, settings: Any) -> Answer:
    """Boxes as centre and size in [0, 1], and a probability for each class; that of "no object" is left out."""
    is_sigmoid = settings.model_type in _SIGMOID
    scores = answer.logits.sigmoid() if is_sigmoid else answer.logits.softmax(-1)[..., :-1]
    return {"boxes": answer.pred_boxes, "scores": scores}


def _image_embedding(answer: Any, _settings: Any) -> Answer:
    return {"embedding": answer.image_embeds}


def _pooled(answer: Any, _settings: Any) -> Answer:
    """What stands for the whole image: the pooler's result, or the class token's."""
    pooled = getattr(answer, "pooler_output", None)
    pooled = answer.last_hidden_state[:, 0] if pooled is None else pooled
    return {"embedding": pooled.flatten(1)}


_KINDS = (
    Kind("ForImageClassification", "AutoModelForImageClassification", "classification", _logits),
    Kind("ForImageClassificationWithTeacher", "AutoModelForImageClassification", "classification", _logits),
    Kind("ForSemanticSegmentation", "AutoModelForSemanticSegmentation", "segmentation", _masks),
    Kind("ForDepthEstimation", "AutoModelForDepthEstimation", "dense", _depth),
    Kind("ForObjectDetection", "AutoModelForObjectDetection", "detection", _detections),
    Kind("VisionModelWithProjection", "", "embedding", _image_embedding),
    Kind("VisionModel", "", "embedding", _pooled),
    Kind("Model", "AutoModel", "embedding", _pooled),
)
