"""The settings of a model, found by walking its fields, and what gives them values: options, `--set`, older names."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from genq_export.config.base import SEPARATED, Formerly, OneOf, Option, types_in
from genq_export.config.yaml_file import value_of
from genq_export.core.errors import UserError

Values = dict[str, Any]
Path = tuple[str, ...]
_LONG = 80  # letters of a setting that an error repeats


@dataclass(frozen=True)
class Setting:
    """A field that holds a value, at any depth: `quantize.weight_bits`."""

    path: Path
    field: FieldInfo

    @property
    def name(self) -> str:
        """From the root: `quantize.weight_bits`."""
        return ".".join(self.path)

    @property
    def options(self) -> tuple[Option, ...]:
        """Its forms on the command line; none: `--set` alone gives it."""
        return tuple(part for part in self.field.metadata if isinstance(part, Option))

    @property
    def separated(self) -> bool:
        """Is it a tuple that one option gives, with commas?"""
        return SEPARATED in self.field.metadata

    @property
    def former_names(self) -> tuple[str, ...]:
        """What it was called in config files of version 1."""
        return tuple(part.name for part in self.field.metadata if isinstance(part, Formerly))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it can have, where they can be listed."""
        return () if self._takes_others else self.suggestions

    @property
    def suggestions(self) -> tuple[str, ...]:
        """Values that completion offers."""
        return _choices(Annotated[self.field.annotation, None, *self.field.metadata])

    @property
    def _takes_others(self) -> bool:
        return any(isinstance(part, OneOf) and part.others for part in self.field.metadata)

    @property
    def bounds(self) -> str:
        """Its range in words, `2 to 8`; empty where there is none."""
        low = high = ""
        for part in self.field.metadata:
            if isinstance(part, annotated_types.Ge):
                low = self._number(part.ge)
            elif isinstance(part, annotated_types.Gt):
                low = f"above {self._number(part.gt)}"
            elif isinstance(part, annotated_types.Le):
                high = self._number(part.le)
            elif isinstance(part, annotated_types.Lt):
                high = f"below {self._number(part.lt)}"
        return f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""

    def _number(self, value: Any) -> str:
        if ByteSize in types_in(self.field.annotation):
            return shown(ByteSize(value))
        return f"{value:,.0f}" if value == round(value) else f"{value:g}"

    @property
    def default(self) -> str:
        """In words; empty where there is none, or where nothing stands for it."""
        return "" if self.field.is_required() else shown(self.field.get_default(call_default_factory=True))

    def read(self, values: Mapping[str, Any]) -> Any:
        """Its value in the nested values of a whole config."""
        for part in self.path:
            values = values[part]
        return values


@dataclass(frozen=True)
class Parameter:
    """An option of a command, and the keyword of `BuildConfig.for_model` that is the same."""

    keyword: str
    option: Option
    settings: tuple[Setting, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        return self.option.flags or (f"--{self.keyword.replace('_', '-')}",)

    @property
    def flag(self) -> str:
        """The long one."""
        return max(self.flags, key=len)

    @property
    def help(self) -> str:
        return self.option.help or self.settings[0].field.description or ""


def shown(value: Any) -> str:
    """A value as a person writes it: `2GB`, `[1, 8, 64]`; empty for none and for nothing."""
    if isinstance(value, ByteSize):
        return re.sub(r"\.0(?=[A-Z])", "", value.human_readable(decimal=True))
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]" if value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value == {} else str(value)


@cache
def settings_of(model: type[BaseModel]) -> tuple[Setting, ...]:
    """Every setting of a model and of the models in it, in the order of the fields."""
    return tuple(_walk(model, ()))


def _walk(model: type[BaseModel], path: Path) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _walk(inner, (*path, name))
        elif not (get_origin(inner) is Literal and len(get_args(inner)) == 1):  # one value alone is no setting
            yield Setting((*path, name), field)


@cache
def parameters(model: type[BaseModel], command: str) -> tuple[Parameter, ...]:
    """The options that a command takes, in the order of the fields; each keyword and each flag stands for one."""
    found: dict[str, Parameter] = {}
    for setting in settings_of(model):
        for option in (option for option in setting.options if command in option.commands):
            keyword = option.name or setting.path[-1]
            before = found.get(keyword)
            if before is not None and not (option.shorthand and option == before.option):
                raise ValueError(f"{setting.name} and {before.settings[0].name} are both given by '{keyword}'")
            found[keyword] = Parameter(keyword, option, (*(before.settings if before else ()), setting))
    return tuple(found.values())


def give_options(values: Values, table: Iterable[Parameter], given: Mapping[str, Any]) -> set[Path]:
    """Put options into nested values, a field's own before a shorthand; returns the settings given by their own.

    Raises:
        UserError: for a keyword that no option has.
    """
    by_keyword = {parameter.keyword: parameter for parameter in table}
    unknown = next((keyword for keyword in given if keyword not in by_keyword), None)
    if unknown is not None:
        raise UserError(f"no option is called '{unknown}'{_hint(unknown, by_keyword)}")
    own = set()
    for parameter in sorted((by_keyword[keyword] for keyword in given), key=lambda one: not one.option.shorthand):
        for setting in parameter.settings:
            put(values, setting.path, given[parameter.keyword])
        if not parameter.option.shorthand:
            own.add(parameter.settings[0].path)
    return own


def give_settings(values: Values, model: type[BaseModel], texts: Sequence[str], given: set[Path]) -> None:
    """Put each `section.field=value` into nested values, the value in YAML; the last of several holds.

    Args:
        given: settings that have a value from an option of their own.

    Raises:
        UserError: for what is not of that form, names no setting, or gives another value than the option.
    """
    for text in texts:
        name, separator, written = text.partition("=")
        source = f"--set {text}" if len(text) < _LONG else f"--set {text[:_LONG]}…"
        if not separator or not name.strip():
            raise UserError(f"{source}: give SECTION.FIELD=VALUE, such as calibrate.steps=10")
        path = _find(model, name.strip(), source)
        value = value_of(written, source)
        if path in given and _at(values, path) != value:
            raise UserError(f"{source}: an option of its own gives it already, as {_at(values, path)}")
        put(values, path, value)


def _find(model: type[BaseModel], name: str, source: str) -> Path:
    """The path of a setting, of a whole section, or of one entry of a setting that maps names."""
    for setting in settings_of(model):
        if name == setting.name or name in setting.former_names:
            return setting.path
        if name.startswith(f"{setting.name}.") and get_origin(setting.field.annotation) is dict:
            return (*setting.path, name.removeprefix(f"{setting.name}."))
    parts = tuple(name.split("."))
    if any(setting.path[: len(parts)] == parts for setting in settings_of(model)):
        return parts
    raise UserError(f"{source}: there is no setting '{name}'{near(model, name)}")


def near(model: type[BaseModel], name: str) -> str:
    """A hint at what a setting is called now, or at one whose name is close; empty where none is."""
    for setting in settings_of(model):
        if name in setting.former_names:
            return f": it is called {setting.name} now"
    section, _, last = name.rpartition(".")
    settings = settings_of(model)
    same = [setting.name for setting in settings if setting.path[-1] == last]
    beside = [setting.path[-1] for setting in settings if setting.path[:-1] == tuple(section.split("."))]
    if len(same) == 1:
        return f" (did you mean {same[0]}?)"
    if beside:
        return _hint(last, beside, f"{section}.")
    return _hint(name, [setting.name for setting in settings])


def _hint(name: str, names: Iterable[str], before: str = "") -> str:
    found = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {before}{found[0]}?)" if found else ""


def renamed(values: Values, model: type[BaseModel]) -> Values:
    """The values of a config of version 1 under the names of today.

    Raises:
        UserError: where a setting stands under its old name and its new one.
    """
    for setting in settings_of(model):
        for old in (tuple(name.split(".")) for name in setting.former_names):
            if not _has(values, old):
                continue
            if _has(values, setting.path):
                raise UserError(f"{'.'.join(old)} and {setting.name} are the same setting: give one of them")
            put(values, setting.path, _at(values, old[:-1]).pop(old[-1]))
    return values


def put(values: Values, path: Path, value: Any) -> None:
    """Set a value in nested values; a section is filled up, a value in a section's place is left to validation."""
    *sections, last = path
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            return
        values = inner
    if isinstance(value, dict) and isinstance(values.get(last), dict):
        values[last] = values[last] | value
    else:
        values[last] = value


def beneath(usual: Mapping[str, Any], values: Mapping[str, Any]) -> Values:
    """Nested values with those of `usual` where they have none of their own."""
    merged = {**usual, **values}
    for name in usual.keys() & values.keys():
        if isinstance(usual[name], Mapping) and isinstance(values[name], Mapping):
            merged[name] = beneath(usual[name], values[name])
    return merged


def _has(values: object, path: Path) -> bool:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _at(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return values


def _choices(annotation: Any) -> tuple[str, ...]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return tuple(map(str, parts))
    if origin is Annotated:
        names = [tuple(part.names()) for part in parts[1:] if isinstance(part, OneOf)]
        return names[0] if names else _choices(parts[0])
    return next((found for part in parts if (found := _choices(part))), ())
