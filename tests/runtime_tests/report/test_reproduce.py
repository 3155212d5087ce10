"""The command in a report makes the same build again."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genq_export.cli.program import app
from genq_export.config.build import BuildConfig
from genq_export.pipeline import build
from runtime_tests.report.reproduce import command


def test_it_says_what_differs_from_its_preset() -> None:
    quick = BuildConfig.for_model("net", preset="quick", calibration_set=Path("build/first"))
    expected = "genq-export build net --bits 4 --target onnxruntime --preset quick --seed 0 --calibration first"
    assert command(quick) == expected
    assert "--preset quick --seed 0 --images 40" in command(BuildConfig.for_model("net", preset="quick", images=40))
    more = BuildConfig.for_model("net", size_budget="20MB", qat_epochs=3)
    assert "--size-budget 20000000" in command(more) and "--qat-epochs 3" in command(more)


@pytest.mark.parametrize(
    "options",
    [
        {"scales": "pow2", "first_last_bits": 4, "keep_float": ["head", "blocks.*"], "sensitivity": True, "seed": 7},
        {"weight_bits": 2, "activation_bits": 8, "target": "tensorrt", "memory_budget": "1GB", "device": "cuda:1"},
        {"average_bits": 4.5, "real": Path("few"), "generator": "distill", "evaluation": Path("val"), "images": 12},
        {"settings": ["calibrate.steps=3", "quantize.layers={'a b': {weight_bits: 2}}", "export.int4_storage=false"]},
        {"preset": "thorough", "settings": ["verify.gates.min_speedup=1.5", "verify.backends=[reference]"]},
        {
            "preset": "quick",
            "settings": ["quantize.iterations=0", "calibrate.templates=t.txt", "quantize.batch_size=7"],
        },
    ],
)
def test_the_command_line_reads_it_back(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = BuildConfig.for_model("fashion_vit", **options)
    told: list[BuildConfig] = []

    def keep(resolved: BuildConfig, *_: object) -> None:
        told.append(resolved)
        raise KeyboardInterrupt  # nothing is to be built

    monkeypatch.setattr(build, "run_stages", keep)
    CliRunner().invoke(app, shlex.split(command(config))[1:])
    assert told == [config]
