"""The one JSON that the host takes from a device: what its runtime made of the images that it was given."""

from typing import Annotated, Literal

from pydantic import Base64Bytes, Field

from runtime_tests.verify.results import CallTimes, Frozen, Number, ShortText

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Codes(Frozen):
    """Codes of one quantizer for one image. sha256: of all of them. kept: those that were asked for."""

    dtype: Literal["uint8", "int8"]
    sha256: Digest
    kept: Base64Bytes


class ImageAnswer(Frozen):
    """One image. outputs: float32, little endian. moved: by how much they move where codes are outputs, too."""

    outputs: dict[str, Base64Bytes]
    codes: dict[str, Codes]
    moved: Number


class Answer(Frozen):
    """What a device found.

    questions: which images. model: sha256 of the file that it ran. hidden_seconds: how long its page was
    not to be seen.
    """

    format: Literal[1]
    questions: ShortText
    model: Digest
    runtime: ShortText
    threads: Annotated[int, Field(ge=1, le=4096)]
    latency_ms: Annotated[dict[Literal["deployed", "float"], CallTimes], Field(max_length=2)]
    hidden_seconds: Number
    images: Annotated[tuple[ImageAnswer, ...], Field(max_length=64)]
