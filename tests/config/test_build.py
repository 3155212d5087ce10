"""Configs: presets and what goes before them, refusal of what no config holds, and the way to YAML and back."""

import inspect
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.base import types_in
from genq_export.config.build import BuildConfig
from genq_export.config.presets import PRESETS
from genq_export.config.registry import RUNTIMES
from genq_export.config.settings import Setting, settings_of
from genq_export.core.errors import UserError

(STEPS,) = (setting for setting in settings_of(BuildConfig) if setting.path[-1] == "iterations")


def steps(config: BuildConfig) -> object:
    return STEPS.read(config.model_dump())


@given(bits=st.integers(2, 8), seed=st.integers(0, 2**31 - 1), preset=st.sampled_from(sorted(PRESETS)))
def test_a_config_survives_yaml(tmp_path_factory: pytest.TempPathFactory, bits: int, seed: int, preset: str) -> None:
    config = BuildConfig.for_model("resnet50", bits=bits, seed=seed, preset=preset)
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.to_yaml())
    assert BuildConfig.read(path) == config


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 32])
def test_bits_out_of_range_are_refused_by_name(bits: int) -> None:
    with pytest.raises(UserError, match=r"quantize\.weight_bits.*got"):
        BuildConfig.for_model("resnet50", bits=bits)


def test_a_shorthand_gives_way_to_a_fields_own_option() -> None:
    settings = BuildConfig.for_model("resnet50", weight_bits=2, bits=4).quantize
    assert (settings.weight_bits, settings.activation_bits) == (2, 4)
    settings = BuildConfig.for_model("resnet50", bits=4, settings=["quantize.activation_bits=8"]).quantize
    assert (settings.weight_bits, settings.activation_bits) == (4, 8)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_settings_that_exist_and_changes_nothing_that_is_given(name: str) -> None:
    config = BuildConfig.for_model("resnet50", preset=name)
    assert config.preset == name
    told = BuildConfig.for_model("resnet50", preset=name, images=7, settings=["quantize.iterations=3"])
    assert (told.calibrate.images, steps(told)) == (7, 3)


def test_the_presets_are_what_they_were() -> None:
    found = {name: BuildConfig.for_model("net", preset=name) for name in PRESETS}
    assert {name: (one.calibrate.images, steps(one)) for name, one in found.items()} == {
        "quick": (256, 0), "default": (1024, 1000), "thorough": (1024, 20000)
    }  # fmt: skip


def test_a_preset_on_a_config_changes_what_its_own_preset_said_and_nothing_that_was_given() -> None:
    quick = BuildConfig.for_model("resnet50", preset="quick", bits=8, images=40)
    changed, kept = quick.with_preset("thorough", "quantize")
    assert (changed.preset, steps(changed), changed.quantize.weight_bits) == ("thorough", 20000, 8)
    assert changed.calibrate == quick.calibrate and kept == []
    given_steps = BuildConfig.for_model("resnet50", preset="quick", settings=["quantize.iterations=5"])
    changed, kept = given_steps.with_preset("thorough", "quantize")
    assert steps(changed) == 5 and kept == [STEPS.name]


def test_a_preset_that_does_not_exist_is_refused_everywhere() -> None:
    config = BuildConfig.for_model("resnet50")
    for attempt in (
        lambda: BuildConfig.for_model("resnet50", preset="instant"),
        lambda: config.with_preset("instant", "quantize"),
        lambda: BuildConfig.parse(config.model_dump() | {"preset": "instant"}),
        lambda: BuildConfig.for_model("resnet50", settings=["preset=instant"]),
    ):
        with pytest.raises(UserError, match="preset 'instant' is not known: give one of quick, default, thorough"):
            attempt()


def test_the_folder_name_says_bits_and_target() -> None:
    assert BuildConfig.for_model("resnet50", bits=4, target="tensorrt").folder_name == "resnet50-w4a4-tensorrt"
    assert BuildConfig.for_model("resnet50", average_bits=4.5).folder_name == "resnet50-mixed-4.5bits-onnxruntime"
    assert BuildConfig.for_model("resnet50", size_budget="20MB").folder_name == "resnet50-mixed-20.0mb-onnxruntime"


def test_any_setting_can_be_given() -> None:
    config = BuildConfig.for_model("resnet50", settings=["calibrate.steps=10", "verify.gates.min_speedup=2.5"])
    assert config.calibrate.steps == 10
    assert config.verify.gates.min_speedup == 2.5
    whole = BuildConfig.for_model("resnet50", settings=["verify={threads: 3}", "quantize.layers.a.b={weight_bits: 2}"])
    assert whole.verify.threads == 3 and whole.quantize.layers["a.b"].weight_bits == 2


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("calibrate.steps", "give SECTION.FIELD=VALUE"),
        ("=1", "give SECTION.FIELD=VALUE"),
        ("calibrate.xyzzy=red", "there is no setting 'calibrate.xyzzy'$"),
        ("calibrate.step=1", r"did you mean calibrate\.steps\?"),
        ("verify.gate.min_speedup=2", r"did you mean verify\.gates\.min_speedup\?"),
        ("iterations=5", r"did you mean quantize\..*iterations\?"),
        ("seed.deep=1", "there is no setting"),
        ("calibrate.steps=ten", r"calibrate\.steps: .*'ten'"),
        ("calibrate.steps={", "not YAML"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_with_the_one_that_is_near(setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        BuildConfig.for_model("resnet50", settings=[setting])


def test_one_setting_given_twice_is_refused_unless_both_say_the_same() -> None:
    with pytest.raises(UserError, match=r"--set calibrate\.images=4: an option of its own gives it already, as 3"):
        BuildConfig.for_model("resnet50", images=3, settings=["calibrate.images=4"])
    with pytest.raises(UserError, match=r"--set model\.name=other"):
        BuildConfig.for_model("resnet50", settings=["model.name=other"])
    assert BuildConfig.for_model("resnet50", images=3, settings=["calibrate.images=3"]).calibrate.images == 3


def test_keywords_are_the_options_of_build() -> None:
    keywords = inspect.signature(BuildConfig.for_model).parameters
    assert {"bits", "weight_bits", "calibration_set", "evaluation", "settings"} <= set(keywords)
    with pytest.raises(UserError, match=r"no option is called 'weight_bit' \(did you mean weight_bits\?\)"):
        BuildConfig.for_model("resnet50", weight_bit=2)


NAMES = [
    ({"target": "tensort"}, r"target 'tensort' is not known \(did you mean tensorrt\?\): give one of onnxruntime"),
    ({"settings": ["verify.backends=[refrence]"]}, r"runtime 'refrence' is not known \(did you mean reference\?\)"),
    ({"scales": "pow3"}, r"quantize\.scales: .*'float' or 'pow2'"),
]


@pytest.mark.parametrize(("options", "words"), NAMES)
def test_names_of_parts_are_those_of_the_registry(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        BuildConfig.for_model("resnet50", **options)


def test_a_part_that_is_registered_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "abacus", "genq_export.runtimes.abacus:Abacus")
    config = BuildConfig.for_model("resnet50", settings=["verify.backends=[abacus, oracle]"])
    assert config.verify.backends == ("abacus", "oracle")


# What no setting of a kind takes, as `--set` gives it and as Python does.
BAD_NUMBERS = [
    ".nan",
    ".inf",
    "-.inf",
    "1e400",
    "true",
    "[1]",
    "{a: 1}",
    "2024-02-31",
    "2024-02-03",
    "",
    "one",
    "9" * 5000,
]
BAD: dict[str, list[str]] = {
    "int": [*BAD_NUMBERS, "-99999999999999999999", "99999999999999999999", "1.5", "null"],
    "float": [*BAD_NUMBERS, "-1e30", "1e30", "null"],
    "ByteSize": [*BAD_NUMBERS, "-1", "1e30", "12 parsecs", "99999999999999999999GB", "'1e999'"],
    "Path": ['"a\\0b"', '"a\\nb"', '"\\ud800"', "3", "[a]", "''", "true"],
    "str": ['"a\\0b"', '"a\\eb"', "3", "[a]", "{a: b}", "''", "true"],
    "bool": ["2", "perhaps", "[true]", "null", "2024-02-03"],
}
SETTINGS = {setting.name: setting for setting in settings_of(BuildConfig)}


def kinds() -> list[object]:
    """Every setting of one plain type beside every bad value of that type."""
    found = []
    for setting in SETTINGS.values():
        types = types_in(setting.field.annotation)
        optional = type(None) in types
        names = {getattr(part, "__name__", "") for part in types - {type(None)}}
        plain = next((kind for kind in BAD if kind in names), None)
        if plain is None or names & {"tuple", "dict", "Literal"}:
            continue
        found += [
            pytest.param(setting, value, id=f"{setting.name}={value[:20]}")
            for value in BAD[plain]
            if not (optional and value in ("null", ""))
        ]
    return found


@pytest.mark.parametrize(("setting", "value"), kinds())
def test_a_value_of_the_wrong_kind_is_one_line_that_names_the_setting(setting: Setting, value: str) -> None:
    with pytest.raises(UserError) as refused:
        BuildConfig.for_model("net", settings=[f"{setting.name}={value}"])
    assert setting.name in str(refused.value) or "model.name" in setting.name
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 500


def test_every_kind_of_setting_is_in_the_table_above() -> None:
    tried = {part.values[0].name for part in kinds()}  # type: ignore[attr-defined]
    rest = {name for name, setting in SETTINGS.items() if name not in tried and not setting.choices}
    assert rest == {
        "model.input_size", "model.mean", "model.std", "model.outputs", "calibrate.lora", "quantize.layers",
        "quantize.keep_float", "export.engine_batches", "export.compute_capabilities", "verify.latency_batches",
    }  # fmt: skip


BAD_PARTS = [
    *("quantize.layers={a: {weight_bits: true}}", "quantize.layers={a: 3}", 'quantize.layers={"a\\0": {}}'),
    *("quantize.keep_float=[true]", "quantize.keep_float=['']", "quantize.keep_float=[[a]]"),
    *("export.engine_batches=[1, 2]", "export.engine_batches=[1, 8, .inf]", "export.engine_batches=[1, 8, 999999999]"),
    *("verify.latency_batches=[]", "verify.latency_batches=[0]", "verify.latency_batches=[true]"),
    *("export.compute_capabilities=[]", "export.compute_capabilities=[86]"),
]


@pytest.mark.parametrize("setting", BAD_PARTS)
def test_a_bad_part_of_a_list_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=setting.partition("=")[0]):
        BuildConfig.for_model("net", settings=[setting])


def test_batches_of_an_engine_rise() -> None:
    with pytest.raises(UserError, match="engine_batches must rise"):
        BuildConfig.for_model("net", settings=["export.engine_batches=[8, 1, 64]"])


def test_every_number_has_two_bounds_and_every_setting_a_description() -> None:
    assert [name for name, setting in SETTINGS.items() if not setting.field.description] == []
    numbers = [
        name
        for name, setting in SETTINGS.items()
        if setting.field.annotation in (int, float) and " to " not in setting.bounds
    ]
    assert numbers == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), date(2024, 2, 3), 4 + 0j, object()])
def test_what_python_gives_is_checked_as_well(value: object) -> None:
    for keyword in ("images", "average_bits", "memory_budget", "seed"):
        with pytest.raises(UserError):
            BuildConfig.for_model("net", **{keyword: value})
