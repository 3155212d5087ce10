"""Configs: presets, refusal of what no config holds, and the way to YAML and back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError


@given(bits=st.integers(2, 8), seed=st.integers(0, 2**31 - 1), preset=st.sampled_from(["quick", "default", "thorough"]))
def test_a_config_survives_yaml(tmp_path_factory: pytest.TempPathFactory, bits: int, seed: int, preset: str) -> None:
    config = BuildConfig.for_model("resnet50", bits=bits, seed=seed, preset=preset)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.to_yaml())
    assert BuildConfig.read(path) == config


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 32])
def test_bits_out_of_range_are_refused_by_name(bits: int) -> None:
    with pytest.raises(UserError, match=r"quantize\.weight_bits.*got"):
        BuildConfig.for_model("resnet50", bits=bits)


def test_bits_of_weights_and_activations_can_differ() -> None:
    settings = BuildConfig.for_model("resnet50", bits=4, weight_bits=2).quantize
    assert (settings.weight_bits, settings.activation_bits) == (2, 4)


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BuildConfig.for_model("resnet50").to_yaml() + "colour: blue\n")
    with pytest.raises(UserError, match="colour"):
        BuildConfig.read(path)


@pytest.mark.parametrize("content", ["- a list", "{unclosed", "", "\0"])
def test_files_that_hold_no_config_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        BuildConfig.read(path)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        BuildConfig.read(tmp_path / "nowhere.yaml")


def test_the_folder_name_says_bits_and_target() -> None:
    assert BuildConfig.for_model("resnet50", bits=4, target="tensorrt").folder_name == "resnet50-w4a4-tensorrt"
    assert BuildConfig.for_model("resnet50", average_bits=4.5).folder_name == "resnet50-mixed-4.5bits-onnxruntime"
    assert BuildConfig.for_model("resnet50", size_budget="20MB").folder_name == "resnet50-mixed-20.0mb-onnxruntime"


def test_any_setting_can_be_given() -> None:
    config = BuildConfig.for_model("resnet50", settings=["calibrate.steps=10", "verify.gates.min_speedup=2.5"])
    assert config.calibrate.steps == 10
    assert config.verify.gates.min_speedup == 2.5


@pytest.mark.parametrize(
    "setting", ["calibrate.steps", "calibrate.colour=red", "seed.deep=1", "calibrate.steps=ten", "=1"]
)
def test_a_setting_that_does_not_exist_is_refused(setting: str) -> None:
    with pytest.raises(UserError):
        BuildConfig.for_model("resnet50", settings=[setting])
