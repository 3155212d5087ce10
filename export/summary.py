"""What the export stage tells the report: how each layer computes, and what was written, as frozen models.

Written into the manifest by the stage and validated when it is read.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from export.audit.layer import LayerAudit
from genq_export.config.base import Frozen
from genq_export.network.free_size import FreeSize


class Widths(Frozen):
    """Grid, storage and compute: three different widths.

    Attributes:
        grid: name of the grids, `W4A4`.
        weights: narrowest container that weights lie in; layers with more bits lie in int8.
        activations: container of every activation.
        compute: what is multiplied and what sums are held in.
    """

    grid: str
    weights: Literal["int4", "int8"]
    activations: Literal["uint8", "int8", "int8 or uint8"]
    compute: str

    @field_validator("weights", mode="before")
    @classmethod
    def _container(cls, text: Any) -> Any:
        """Version 0.1 wrote `int4 (8-bit layers int8)`."""
        return text.partition(" ")[0] if isinstance(text, str) else text


class AtOtherSize(Frozen):
    """Codes of the file against the oracle's, on images of a size that it was not calibrated on.

    Attributes:
        size: (channels, height, width).
        codes: how many were compared.
        differing: how many of them differ.
        own: how many differ in an image in which everything in front was the same.
    """

    size: tuple[int, int, int]
    codes: int
    differing: int
    own: int


class ExportSummary(Frozen):
    """What the export stage hands on.

    Attributes:
        audit: every layer of the file, in its order.
        engine: facts of the engine, as `engine.json` has them; None where none was built.
        opset: of the ONNX file.
        ir_version: of the ONNX file.
        taken_by: versions of the target's runtime that take the file, in words; None where not known.
        quantize_linear: how many such nodes there are.
        dequantize_linear: the same.
        files: bytes by name.
        storage: containers.
        preprocessing: what happens to a picture before the network, in words; empty in earlier builds.
        free_size: in which other sizes it takes images; None: in none.
        other_sizes: what was compared there.
        classes: digest of the names of the classes, in order; None where there are none, and in earlier builds.
    """

    audit: tuple[LayerAudit, ...]
    engine: dict[str, Any] | None = None
    opset: int
    ir_version: int
    taken_by: str | None = None
    quantize_linear: int = 0
    dequantize_linear: int = 0
    files: dict[str, int] = Field({})
    storage: Widths
    preprocessing: str = ""
    classes: str | None = None
    free_size: FreeSize | None = None
    other_sizes: tuple[AtOtherSize, ...] = ()


def classes_digest(names: Sequence[str] | None) -> str | None:
    """Of names of classes in their order; None where there are none."""
    return None if names is None else hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()
