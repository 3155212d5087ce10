"""The quantize section: a section a method, names of version 1, bounds."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.settings import settings_of
from genq_export.core.errors import UserError

MOVED = {
    old.removeprefix("quantize."): setting.name.removeprefix("quantize.")
    for setting in settings_of(BuildConfig)
    for old in setting.former_names
    if old.startswith("quantize.")
}
GRIDS = {"weight_bits": 4, "activation_bits": 4}
OLD: dict[str, Any] = {
    "even_layer_norms": False, "average_bits": 5.0, "size_budget": "20MB", "compensation": False, "iterations": 7,
    "rounding_lr": 0.5, "weight_scale_lr": 0.25, "activation_lr": 0.125, "rounding_weight": 2.0,
    "drop_probability": 0.75, "qat_epochs": 3, "qat_method": "lsq", "qat_autocast": True, "qat_frozen_share": 0.25,
    "qat_weight_lr": 0.5, "qat_scale_lr": 0.25,
}  # fmt: skip


def at(config: BuildConfig, path: str) -> object:
    found: object = config
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("name", MOVED)
def test_a_name_of_version_1_is_read_and_written_as_it_is_called_now(name: str) -> None:
    value = 20_000_000 if name == "size_budget" else OLD[name]
    values = {"version": 1, "model": {"name": "net"}, "calibrate": {}, "quantize": GRIDS | {name: OLD[name]}}
    told = BuildConfig.for_model("net", settings=[f"quantize.{name}={OLD[name]}"])
    for config in (BuildConfig.parse(values), told):
        assert at(config, f"quantize.{MOVED[name]}") == value
        written = yaml.safe_load(config.to_yaml())["quantize"]
        assert name not in written and BuildConfig.parse(yaml.safe_load(config.to_yaml())) == config


def test_every_name_of_version_1_is_tried() -> None:
    assert OLD.keys() == MOVED.keys()


def test_a_setting_counts_under_either_name_before_what_the_preset_says() -> None:
    for name in ("quantize.iterations", "quantize.reconstruction.iterations"):
        assert BuildConfig.for_model("net", settings=[f"{name}=5"]).quantize.reconstruction.iterations == 5


def test_a_value_under_both_names_is_refused_with_the_new_one(tmp_path: Path) -> None:
    values = {"version": 1, "model": {"name": "net"}, "calibrate": {}}
    values["quantize"] = GRIDS | {"qat_epochs": 3, "qat": {"epochs": 2}}  # type: ignore[assignment]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values, explicit_end=True))
    with pytest.raises(UserError, match=r"config\.yaml: quantize\.qat_epochs and quantize\.qat\.epochs are the same"):
        BuildConfig.read(tmp_path / "config.yaml")


@pytest.mark.parametrize("name", ["gptq", "bias_correction", "layernorm_equalization"])
def test_a_method_can_be_switched_off_in_a_word(name: str) -> None:
    config = BuildConfig.for_model("net", settings=[f"quantize.{name}=false"]).quantize
    assert not config.uses(name) and name not in config.methods_in_use
    assert BuildConfig.for_model("net").quantize.uses(name)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("quantize.methods=[gptq, colour]", "method 'colour' is not known"),
        ("quantize.methods=[gptq, gptq]", "gptq is named twice"),
        ("quantize.qat={epochs: 1, colour: red}", r"quantize\.qat\.colour"),
        ("quantize.reconstruction.iterations=10000000", r"quantize\.reconstruction\.iterations"),
        ("quantize.reconstruction.rounding_lr=.nan", "finite"),
        ("quantize.reconstruction.activation_lr=.inf", "finite"),
        ("quantize.qat.weight_lr=-1", r"quantize\.qat\.weight_lr"),
        ("quantize.qat.epochs=1000000", r"quantize\.qat\.epochs"),
        ("quantize.mixed_precision.average_bits=.nan", "finite"),
        ("quantize.mixed_precision.size_budget=0", r"quantize\.mixed_precision\.size_budget"),
        ("quantize.batch_size=0", r"quantize\.batch_size"),
        ("quantize.qat.colour=1", r"quantize\.qat\.colour"),
    ],
)
def test_what_no_method_takes_is_refused_by_name(setting: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        BuildConfig.for_model("net", settings=[setting])


@pytest.mark.parametrize("asked", ["qat.epochs=1", "mixed_precision.average_bits=5"])
def test_a_method_that_is_asked_for_has_to_be_named(asked: str) -> None:
    with pytest.raises(UserError, match=f"{asked.partition('.')[0]} is asked for, but methods does not name it"):
        BuildConfig.for_model("net", settings=["quantize.methods=[gptq]", f"quantize.{asked}"])


def test_a_method_is_in_use_where_it_is_named_and_its_section_asks_for_something() -> None:
    def in_use(**changes: Any) -> tuple[str, ...]:
        return QuantizeConfig.model_validate(GRIDS | changes).methods_in_use

    assert in_use(methods=["qat", "rounding_ties"]) == ("rounding_ties",)
    assert in_use(methods=["qat", "rounding_ties"], qat={"epochs": 1}) == ("qat", "rounding_ties")
    assert "reconstruction" not in in_use(reconstruction={"iterations": 0})
