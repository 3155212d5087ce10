"""Build folders of version 1: they verify, or say in one line to build again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from genq_export.config.build import BuildConfig
from genq_export.config.settings import put, settings_of
from genq_export.pipeline.build import read_config
from tests.robustness.forked import run
from tests.robustness.inputs.folders import changed, with_set
from tests.robustness.row import Row, Stock


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


def _as_version_1(config: BuildConfig) -> str:
    """The config under the names that its settings had."""
    values: dict[str, Any] = config.model_dump(mode="json")
    for setting in settings_of(BuildConfig):
        for name in setting.former_names:
            put(values, tuple(name.split(".")), setting.read(config.model_dump(mode="json")))
    for section in ("layernorm_equalization", "mixed_precision", "gptq", "reconstruction", "bias_correction", "qat"):
        values["quantize"].pop(section)
    values["calibrate"].pop("calibration_set")
    return yaml.safe_dump(values | {"version": 1}, explicit_end=True)


def _old_config(home: Path, stock: Stock) -> None:
    folder = Path(shutil.copytree(stock.build, home / "b"))
    config = read_config(folder)
    (folder / "config.yaml").write_text(_as_version_1(config))
    assert read_config(folder) == config


def _old_structure(folder: Path) -> None:
    for name in ("model.json", "reference.json"):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(document | {"version": 1}))


@pytest.mark.slow
def test_a_folder_with_a_config_of_version_1_verifies(stock: Stock) -> None:
    (outcome,) = run([Row("version 1", "config", ("verify", "b", "-q"), "", _old_config)], stock)
    assert outcome.code in (0, 1), outcome.err  # the quick build need not pass
    assert "b/verify.json" in outcome.changed and not outcome.has_traceback


def test_a_network_of_version_1_is_to_be_quantized_again(stock: Stock) -> None:
    row = Row(
        "version 1",
        "structure",
        ("export", "b", "-q"),
        "has version 1, .*: quantize again",
        changed(with_set(_old_structure), True),
    )
    (outcome,) = run([row], stock)
    assert not outcome.faults, (outcome.faults, outcome.err)
