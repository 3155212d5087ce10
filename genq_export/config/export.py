"""The deployed file."""

from typing import Annotated, Self

from pydantic import ByteSize, Field, model_validator

from genq_export.config.base import Bytes, Frozen

Batch = Annotated[int, Field(ge=1, le=65536)]


class ExportConfig(Frozen):
    """The deployed file."""

    int4_storage: bool = Field(True, description="store weights of 4 bits or fewer in 4 bits (ONNX Runtime target)")
    half_remainder: bool = Field(
        False, description="what stays float (LayerNorm, softmax, GELU, sums) computes in FP16 (TensorRT target)"
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
    version_compatible: bool = Field(False, description="the engine also runs on later versions (TensorRT)")
    hardware_compatible: bool = Field(False, description="the engine also runs on later GPUs (TensorRT, from SM80)")

    @model_validator(mode="after")
    def _batches_in_order(self) -> Self:
        if list(self.engine_batches) != sorted(self.engine_batches):
            raise ValueError("engine_batches must rise: smallest, best, largest")
        return self
