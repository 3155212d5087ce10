"""The deployed file."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, model_validator

from genq_export.config.base import Bytes, Frozen, Option
from genq_export.config.releases import RELEASES, checked_version

Batch = Annotated[int, Field(ge=1, le=65536)]


def _as_text(value: object) -> object:
    """YAML reads 1.16 as a number; of 1.20 that leaves 1.2, which nobody can tell from version 1.2."""
    if isinstance(value, float) and value >= 1.1:
        if len(repr(value).partition(".")[2]) != 2:
            raise ValueError("""a number that may have lost a zero: give it in quotation marks, '"1.20"'""")
        return repr(value)
    return value


def _release(value: str | None) -> str | None:
    return None if value is None else checked_version(value)


class ExportConfig(Frozen):
    """The deployed file."""

    int4_storage: bool = Field(True, description="store weights of 4 bits or fewer in 4 bits (ONNX Runtime target)")
    minimum_runtime: Annotated[str | None, BeforeValidator(_as_text), AfterValidator(_release), Option(("build",))] = (
        Field(
            None,
            description="oldest ONNX Runtime that must take the file, such as 1.16: lowest opset and IR version, and 8"
            f" bits where 4 cannot be stored; from {RELEASES[0].version}; without: docs/target-onnxruntime.md",
        )
    )
    input: Annotated[Literal["float32", "uint8", "uint8-nhwc"], Option(("build",))] = Field(
        "float32",
        description="uint8: a further file, model.uint8.onnx, that takes pixels [N, C, H, W], its normalisation a table"
        " in place of the first quantizer; uint8-nhwc: [N, H, W, C] (ONNX Runtime target)",
    )
    ort_file: bool = Field(False, description="model.ort beside model.onnx, for ONNX Runtime built without ONNX")
    half_remainder: bool = Field(
        False, description="what stays float (LayerNorm, softmax, GELU, sums) computes in FP16 (TensorRT target)"
    )
    tensorrt: Literal[10, 11] | None = Field(
        None,
        description="TensorRT that the file is for: 10 (JetPack 6) gets GELU in its parts; without: 11, and 10 as far"
        " as it reads opset 20",
    )
    engine_batches: tuple[Batch, Batch, Batch] = Field(
        (1, 8, 64), description="smallest, best and largest batch of the engine"
    )
    compute_capabilities: tuple[str, ...] = Field(
        ("SM86", "SM89", "SM120"),
        min_length=1,
        max_length=64,
        description="GPUs that TensorRT-RTX builds for, ahead of time",
    )
    check_size: Bytes = Field(
        ByteSize(900_000), ge=0, le=10**9, description="golden data for a check on the device; 0: no `check` folder"
    )
    check_images: int = Field(
        8, ge=1, le=4096, description="images of that check at most; a larger check_size makes room for more"
    )
    version_compatible: bool = Field(False, description="the engine also runs on later versions (TensorRT)")
    hardware_compatible: bool = Field(False, description="the engine also runs on later GPUs (TensorRT, from SM80)")

    @model_validator(mode="after")
    def _batches_in_order(self) -> Self:
        if list(self.engine_batches) != sorted(self.engine_batches):
            raise ValueError("engine_batches must rise: smallest, best, largest")
        return self
