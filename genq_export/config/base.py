"""What every settings model is, and what a field of one says beside its type.

A field is the one home of a setting: its description, its bounds, its default and, in `Annotated`, its form on the
command line (`Option`), the values it takes from a registry (`OneOf`) and the name it had before (`Formerly`). All of
this is data: command line, help, completion, the repeat command of a report and docs/configuration.md are made from it.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from genq_export.core.errors import UserError
from genq_export.core.registry import check_name


@dataclass(frozen=True)
class Option:
    """The command-line form of a field. A field may have several, for several commands.

    Args:
        commands: those that take it.
        name: keyword of `BuildConfig.for_model`; None: the field's name.
        flags: None of them: `--` and the name.
        help: where the field's description is not what the command line should say.
        shorthand: several fields hold this option, and it sets them all; an option of a field's own goes before it.
        always_told: the command in a report states it even where nothing differs from the default.
        words: values beside the numbers that the field has, which the config model reads.
    """

    commands: tuple[str, ...]
    name: str | None = None
    flags: tuple[str, ...] = ()
    help: str | None = None
    shorthand: bool = False
    always_told: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Formerly:
    """Where a field stood in config files of version 1, from the root: `calibrate.made_before`."""

    name: str


@dataclass(frozen=True)
class OneOf:
    """Text that must be one of some names, looked up when they are needed: a registry may grow.

    Args:
        kind: what an error calls such a thing, `target`.
        names: gives the names.
        others: any other text is one as well, such as a path.
    """

    kind: str
    names: Callable[[], Iterable[str]]
    others: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str | None) -> str | None:
        if value is None or self.others:
            return value
        try:
            return check_name(dict.fromkeys(self.names(), ""), value, self.kind)
        except UserError as error:
            raise PydanticCustomError("unknown_name", "{reason}", {"reason": str(error)}) from None


def _parts(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# Marks a tuple that text gives as `3,224,224`, in one option.
SEPARATED = BeforeValidator(_parts)


class Frozen(BaseModel):
    """Settings: immutable, no field that is not listed, every number finite, no text with control characters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        inner = value if isinstance(value, list | tuple | dict) else (value,)
        types = types_in(cls.model_fields[str(info.field_name)].annotation)
        switch = any(part is bool or (isinstance(part, type) and issubclass(part, BaseModel)) for part in types)
        for part in inner:
            _check_plain(part, switch)
        return value


def _check_plain(value: object, switch: bool) -> None:
    """Refuse what no setting is; pydantic would read `true` as 1, and a path with NUL fails where it is opened."""
    if isinstance(value, bool) and not switch:
        raise PydanticCustomError("switch", "Input should be a value, not true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "Input should be a finite number")
    if isinstance(value, str | Path) and any(unicodedata.category(sign) in ("Cc", "Cs") for sign in str(value)):
        raise PydanticCustomError("control_characters", "Input should hold no control characters and no bytes but text")
    if value == "":
        raise PydanticCustomError("empty", "Input should not be empty")


def types_in(annotation: object) -> set[object]:
    """The types that an annotation is made of."""
    if get_origin(annotation) is Annotated:
        return types_in(get_args(annotation)[0])
    return {annotation}.union(*(types_in(part) for part in get_args(annotation)))


def _byte_size(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and not _BYTES.fullmatch(value):  # pydantic reads the beginning and forgets the rest
        raise PydanticCustomError("byte_size", "Input should be a number of bytes, such as 20MB")
    try:
        return read(value)
    except OverflowError:
        raise PydanticCustomError("finite_number", "Input should be a finite number of bytes") from None


_BYTES = re.compile(r"\s*\d*\.?\d+\s*\w*\s*")
Bytes = Annotated[ByteSize, WrapValidator(_byte_size)]
