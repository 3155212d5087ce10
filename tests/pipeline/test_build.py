"""Builds: what is fresh stays, what is killed goes on, and the same command gives the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genq_export import build
from genq_export.cli.app import main
from genq_export.config.build import BuildConfig
from genq_export.config.export import ExportConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images_if_there
from genq_export.pipeline.build import read_config, run_stages
from genq_export.pipeline.plan import plan
from genq_export.runtimes.load import load
from tests.launched import environments

SAME_BYTES = ("calibration/metadata.jsonl", "model.safetensors", "model.onnx")
STAGES = ("calibrate", "quantize", "export")
QUIET = Progress(quiet=True)


def small(**changes: object) -> BuildConfig:
    """A build of the embedded ResNet that takes seconds: few images, few sampler steps, few reconstruction steps."""
    values = BuildConfig.for_model("fashion_resnet", preset="quick", images=40).model_dump(mode="json")
    values["calibrate"] |= {"steps": 4, "batch_size": 16}
    values["quantize"] |= {"reconstruction": {"iterations": 4}, "batch_size": 8}
    for path, value in changes.items():
        section, name = path.split("__")
        values[section][name] = value
    return BuildConfig.parse(values)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("builds") / "first"
    assert run_stages(small(), folder, STAGES, QUIET) == STAGES
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME_BYTES}


def test_a_second_identical_build_does_nothing(built: Path) -> None:
    assert run_stages(small(), built, STAGES, QUIET) == ()
    assert [row["fresh"] for row in plan(small(), built)["stages"]] == [True, True, True, False, False]


def test_another_memory_budget_is_no_reason_to_quantize_again(built: Path) -> None:
    assert run_stages(small(quantize__memory_budget=10**6), built, STAGES, QUIET) == ()
    assert not plan(small(quantize__reconstruction={"iterations": 5}), built)["stages"][1]["fresh"]


def test_nothing_to_do_is_said_within_five_seconds_of_a_processor(built: Path) -> None:
    code = "import sys; from genq_export.cli.app import main; main()"
    before = os.times()
    command = [sys.executable, "-c", code, "export", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing to do" in done.stderr
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 5


def test_what_was_made_with_other_versions_stays_and_is_said(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "build"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["stages"]["quantize"]["versions"]["torch"] = "1.0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run_stages(small(), folder, STAGES, Progress()) == ()
    said = capsys.readouterr().err
    assert "quantize: stays as it was made with torch 1.0" in said and "export: stays" not in said


def test_other_bits_keep_the_calibration_set(built: Path) -> None:
    folder = built.parent / "other-bits"
    ran = run_stages(small(quantize__weight_bits=8), folder, STAGES, QUIET)
    assert ran == STAGES  # a folder of its own, but the set is copied, not drawn again
    assert (folder / SAME_BYTES[0]).read_bytes() == (built / SAME_BYTES[0]).read_bytes()
    again = run_stages(small(quantize__weight_bits=6), folder, STAGES, QUIET)
    assert again == ("quantize", "export")


def test_a_damaged_file_is_made_again(built: Path) -> None:
    before = contents(built)
    path = built / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert run_stages(small(), built, STAGES, QUIET) == ("export",)
    assert contents(built) == before


def test_the_config_in_the_folder_repeats_the_build(built: Path) -> None:
    folder = built.parent / "repeated"
    run_stages(read_config(built), folder, STAGES, QUIET)
    assert contents(folder) == contents(built)


def test_a_set_made_for_one_network_serves_another(built: Path, tmp_path: Path) -> None:
    config = small(model__name="fashion_mobilenet", calibrate__calibration_set=str(built))
    run_stages(config, tmp_path / "build", STAGES, QUIET)
    first, second = ((folder / SAME_BYTES[0]).read_bytes() for folder in (built, tmp_path / "build"))
    assert first == second


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["genq-export", *arguments])
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_the_quantize_command_takes_the_set_of_another_network(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mobilenet"
    options = ("--model", "fashion_mobilenet", "--calibration", str(built), "--bits", "8", "--preset", "quick", "-q")
    assert command(monkeypatch, "quantize", str(folder), *options) == 0
    assert (folder / SAME_BYTES[0]).read_bytes() == (built / SAME_BYTES[0]).read_bytes()
    config = read_config(folder)
    assert config.model.name == "fashion_mobilenet" and config.quantize.weight_bits == 8
    assert config.calibrate.calibration_set == built

    assert command(monkeypatch, "quantize", str(tmp_path / "new"), "--model", "fashion_mobilenet") == 2
    assert "--model needs --calibration" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_the_quantize_command_exchanges_the_set_of_a_build(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "build"))
    other = Path(shutil.copytree(built / "calibration", tmp_path / "other" / "calibration"))
    rows = (other / "metadata.jsonl").read_text().splitlines(keepends=True)
    (other / "metadata.jsonl").write_text("".join(rows[: len(rows) // 2]))
    assert command(monkeypatch, "quantize", str(folder), "--calibration", str(tmp_path / "other"), "-q") == 0
    assert (folder / SAME_BYTES[0]).read_bytes() == (other / "metadata.jsonl").read_bytes()
    assert read_config(folder).quantize == read_config(built).quantize
    assert command(monkeypatch, "quantize", str(folder), "--calibration", str(tmp_path / "none"), "-q") == 2


def test_a_folder_without_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images in .*a build folder, its calibration/, or images"):
        run_stages(small(calibrate__calibration_set=str(tmp_path)), tmp_path / "build", STAGES, QUIET)
    assert not (tmp_path / "build").exists()


def test_calibration_images_are_known_unless_the_folder_came_without_them(built: Path, tmp_path: Path) -> None:
    assert len(kept_images_if_there(built / "calibration")) == 40
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    shutil.rmtree(copy / "calibration" / "images")
    assert kept_images_if_there(copy / "calibration") == []


def test_a_folder_without_its_calibration_set_is_exported_without_a_check(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built, copy, ignore=shutil.ignore_patterns("calibration", "check"))
    config = read_config(copy).model_copy(update={"export": ExportConfig(int4_storage=False)})
    assert run_stages(config, copy, ("export",), Progress(quiet=True)) == ("export",)
    assert (copy / "model.onnx").is_file() and not (copy / "check").exists()


def test_a_build_folder_loads_as_a_callable(built: Path) -> None:
    logits = load(built, threads=1)(np.zeros((3, 3, 32, 32), dtype=np.float32))
    assert logits.shape == (3, 10)
    assert np.isfinite(logits).all()


def test_a_file_that_was_not_exported_here_is_not_loaded(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    shutil.copytree(built, folder)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match="not the file that this build exported"):
        load(folder)


def test_the_manifest_lists_every_output_with_its_hash(built: Path) -> None:
    stages = json.loads((built / "manifest.json").read_text())["stages"]
    assert list(stages) == list(STAGES)
    assert {"model.onnx", "model.safetensors", "model.json", "README.md"} <= set(stages["export"]["outputs"])


def some_images(folder: Path) -> bool:
    return len(list(folder.glob("calibration/images/*.png"))) >= 5


def second_block(folder: Path) -> bool:
    return len(list(folder.glob("partial/*/block_*.safetensors"))) >= 2


def reference_written(folder: Path) -> bool:
    return (folder / "reference.safetensors").is_file()


def integer_model_written(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("moment", [some_images, second_block, reference_written, integer_model_written])
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(
    built: Path, tmp_path: Path, moment: Callable[[Path], bool]
) -> None:
    folder = tmp_path / "killed"
    config = tmp_path / "config.yaml"
    config.write_text(small().to_yaml())
    code = (
        "import sys; from pathlib import Path\n"
        "from genq_export.pipeline.build import run_stages; from genq_export.config.build import BuildConfig\n"
        "from genq_export.core.progress import Progress\n"
        f"run_stages(BuildConfig.read(Path(sys.argv[1])), Path(sys.argv[2]), {STAGES!r}, Progress(quiet=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(config), str(folder)], env=os.environ)
    deadline = time.monotonic() + 120
    while not moment(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert moment(folder), "the build never came to the moment at which it was to be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_stages(small(), folder, STAGES, QUIET)
    assert contents(folder) == contents(built)


def quantize_together(folder: Path, world: int) -> list[tuple[int, str]]:
    """`genq-export quantize FOLDER` in `world` processes; exit code and output of each."""
    command = [sys.executable, "-m", "genq_export", "quantize", str(folder)]
    children = [
        subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for environment in environments(world)
    ]  # fmt: skip
    outputs = [child.communicate(timeout=300)[0] for child in children]
    return [(child.returncode, output) for child, output in zip(children, outputs, strict=True)]


def with_training(built: Path, folder: Path, **changes: object) -> Path:
    """A copy of the build whose next quantize stage has an epoch of QAT."""
    shutil.copytree(built, folder)
    training = small(quantize__qat={"epochs": 1}, quantize__reconstruction={"iterations": 1}, **changes)
    (folder / "config.yaml").write_text(training.to_yaml())
    return folder


@pytest.mark.slow
def test_two_processes_share_qat_and_end_as_one_does(built: Path, tmp_path: Path) -> None:
    folders = {world: with_training(built, tmp_path / str(world)) for world in (1, 2)}
    for world, folder in folders.items():
        results = quantize_together(folder, world)
        assert [code for code, _ in results] == [0] * world, results
        assert [output.count("quantize: done") for _, output in results] == [1, 0][:world]
    alone, together = (load_file(folder / "reference.safetensors") for folder in folders.values())
    assert alone.keys() == together.keys()
    scales = [name for name in alone if name.endswith("scale")]
    assert all(torch.allclose(alone[name], together[name], rtol=1e-4) for name in scales)
    codes = [alone[name] != together[name] for name in alone if name.endswith("codes")]
    assert sum(int(part.sum()) for part in codes) <= sum(part.numel() for part in codes) / 1e4
    histories = [Workspace(folder).summary("quantize")["qat"]["held_out_kl"] for folder in folders.values()]
    assert len(histories[1]) == 2 and histories[0] == pytest.approx(histories[1], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "codes"), [({}, [2, 0]), pytest.param({"quantize__batch_size": 1}, [2, 2], marks=pytest.mark.slow)]
)
def test_where_the_main_process_fails_the_others_end_as_well(
    built: Path, tmp_path: Path, changes: dict[str, object], codes: list[int]
) -> None:
    """In front of QAT, where they stand by and go home, and in it, where all fail."""
    folder = with_training(built, tmp_path / "build", **changes)
    if not changes:
        next(folder.glob("calibration/images/*.png")).write_bytes(b"not an image")
    results = quantize_together(folder, 2)
    assert [code for code, _ in results] == codes, results
    assert "error: " in results[0][1] and "Traceback" not in results[0][1] + results[1][1]


def test_a_missing_generator_and_weights_come_in_one_list(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run_stages(BuildConfig.for_model("resnet50"), tmp_path / "build", STAGES, QUIET)
    assert "resnet50" in str(caught.value) and "stable-diffusion-v1-5" in str(caught.value)
    assert not (tmp_path / "build").exists()


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device"):
        run_stages(small().model_copy(update={"device": "cuda:7"}), tmp_path / "build", STAGES, QUIET)


def test_a_target_that_is_not_installed_is_said_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genq_export.targets.tensorrt.engine_builder", lambda: None)
    folder = tmp_path / "build"
    config = small(quantize__activation_bits=8)
    (note,) = plan(config.model_copy(update={"target": "tensorrt"}), folder)["notes"]
    assert "TensorRT is not installed" in note and "tensorrt-rtx" in note
    assert plan(config, folder)["notes"] == []


def test_a_plan_says_where_fewer_bits_of_activations_gain_nothing(tmp_path: Path) -> None:
    (note,) = plan(small(), tmp_path / "build")["notes"]
    assert "W4A8 (--activation-bits 8; auto: only where it helps most)" in note and "uint8" in note


def test_building_from_python_returns_the_report(built: Path) -> None:
    fast = small(verify__latency_runs=10, verify__fidelity_images=16)
    report = build(fast, built)
    assert report.model == "fashion_resnet" and report.target == "onnxruntime"
    assert report.accuracy["onnxruntime"].n == 10000
    assert {gate.name for gate in report.gates} >= {"accuracy_loss", "agreement", "integer_share"}
