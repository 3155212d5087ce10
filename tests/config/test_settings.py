"""An option of a build is one field of one config model: the rest follows from it."""

from pathlib import Path
from typing import Annotated, Literal, get_origin

import pytest
from pydantic import ByteSize, Field

from genq_export.config.base import Formerly, Frozen, Option, types_in
from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.settings import Setting, parameters, settings_of
from genq_export.core.errors import UserError
from runtime_tests.report.reproduce import command


class Inner(Frozen):
    """A model in a model in a model."""

    patience: Annotated[int, Option(("build",)), Formerly("quantize.haste")] = Field(
        3, ge=1, le=9, description="how long to wait"
    )
    mood: Annotated[Literal["calm", "wild"], Option(("build",), name="inner_mood")] = Field("calm", description="of it")


class Middle(Frozen):
    inner: Inner = Inner()


class Quantize(QuantizeConfig):
    middle: Middle = Middle()


class Scratch(BuildConfig):
    """A build with options that no build has."""

    quantize: Quantize


def test_it_has_a_keyword_bounds_and_a_default() -> None:
    assert Scratch.for_model("net").quantize.middle.inner == Inner()
    config = Scratch.for_model("net", patience=5, inner_mood="wild", bits=8)
    assert (config.quantize.middle.inner, config.quantize.weight_bits) == (Inner(patience=5, mood="wild"), 8)
    with pytest.raises(UserError, match=r"quantize\.middle\.inner\.patience: .*less than or equal to 9 \(got 10\)"):
        Scratch.for_model("net", patience=10)


def test_set_takes_it_and_hints_at_it() -> None:
    config = Scratch.for_model("net", settings=["quantize.middle.inner.patience=7"])
    assert config.quantize.middle.inner.patience == 7
    with pytest.raises(UserError, match=r"did you mean quantize\.middle\.inner\.patience\?"):
        Scratch.for_model("net", settings=["quantize.middle.inner.patient=7"])
    with pytest.raises(UserError, match=r"did you mean quantize\.middle\.inner\.patience\?"):
        Scratch.for_model("net", settings=["quantize.patience=7"])


def test_a_field_may_have_moved_to_any_depth(tmp_path: Path) -> None:
    assert Scratch.for_model("net", settings=["quantize.haste=8"]).quantize.middle.inner.patience == 8
    path = tmp_path / "config.yaml"
    path.write_text("version: 1\nmodel: {name: net}\ncalibrate: {}\nquantize: {haste: 6}\n...\n")
    assert Scratch.read(path).quantize.middle.inner.patience == 6


def test_it_survives_a_file_and_the_command_in_a_report(tmp_path: Path) -> None:
    config = Scratch.for_model("net", patience=5, inner_mood="wild")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert Scratch.read(path) == config
    assert command(config).endswith("--seed 0 --patience 5 --inner-mood wild")


def test_two_fields_of_one_keyword_are_refused_unless_it_is_a_shorthand() -> None:
    class Twice(Frozen):
        a: Inner = Inner()
        b: Inner = Inner()

    with pytest.raises(ValueError, match=r"b\.patience and a\.patience are both given by 'patience'"):
        parameters(Twice, "build")


def test_a_shorthand_names_the_fields_that_it_sets() -> None:
    (bits,) = (one for one in parameters(BuildConfig, "build") if one.keyword == "bits")
    assert [setting.name for setting in bits.settings] == ["quantize.weight_bits", "quantize.activation_bits"]


def test_no_setting_has_the_old_name_of_another() -> None:
    settings = settings_of(BuildConfig)
    assert {old for one in settings for old in one.former_names}.isdisjoint(one.name for one in settings)


NUMBERS = [
    setting for setting in settings_of(BuildConfig) if types_in(setting.field.annotation) & {int, float, ByteSize}
]


@pytest.mark.parametrize("value", [10**18, -(10**18), 1e300, -1e300])
@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_every_number_of_a_build_has_both_bounds(setting: Setting, value: float) -> None:
    several = any(get_origin(part) is tuple for part in types_in(setting.field.annotation))
    written = f"[{value}, {value}, {value}]" if several else f"{value}"
    with pytest.raises(UserError, match=setting.name):
        BuildConfig.for_model("net", settings=[f"{setting.name}={written}"])


def test_numbers_are_found() -> None:
    assert {"seed", "verify.threads", "quantize.memory_budget", "model.mean"} <= {one.name for one in NUMBERS}
