"""The command line: parse, call, print; no logic.

Exit codes: 0 done and passed; 1 a gate failed (everything is written all the same); 2 bad input or something missing.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress

app = typer.Typer(
    help="Quantize and deploy vision networks without their training data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str | None, typer.Argument(help="timm name, or a network of the embedded zoo (`genq-export models`).")
]
Folder = Annotated[Path, typer.Argument(help="A build folder.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Build folder. [default: build/NAME-wNaN-TARGET]")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with a whole config, as in a build folder.")]
BitsOption = Annotated[int, typer.Option("--bits", help="Bits of weights and activations, 2 to 8.")]
WeightBits = Annotated[int | None, typer.Option(help="Bits of weights, where they differ.")]
ActivationBits = Annotated[int | None, typer.Option(help="Bits of activations, where they differ.")]
TargetOption = Annotated[str, typer.Option("--target", help="onnxruntime or tensorrt.")]
Preset = Annotated[str, typer.Option(help="quick (nothing learned), default, or thorough (20,000 steps a block).")]
Images = Annotated[int | None, typer.Option(help="Calibration images to keep.")]
QatEpochs = Annotated[int, typer.Option("--qat-epochs", help="Epochs of QAT behind the PTQ; 0: PTQ only.")]
ScalesOption = Annotated[str, typer.Option("--scales", help="Activation scales: float, or pow2 (powers of two).")]
FirstLastBits = Annotated[int, typer.Option(help="Bits of the first and the last layer.")]
KeepFloat = Annotated[list[str] | None, typer.Option(help="Layer, or pattern, that stays in float. Repeatable.")]
Sensitivity = Annotated[bool, typer.Option("--sensitivity", help="Measure what every layer's quantization costs.")]
AverageBits = Annotated[float | None, typer.Option(help="Mixed precision: mean bits of the inner layers.")]
SizeBudget = Annotated[str | None, typer.Option(help="Mixed precision: what all weights may take, such as 20MB.")]
MemoryBudget = Annotated[str, typer.Option(help="Cached block inputs kept in memory; more goes to disk.")]
Generator = Annotated[str | None, typer.Option(help="Text-to-image pipeline (hub name or folder), distill, or leaves.")]
Real = Annotated[Path | None, typer.Option(help="Folder of a few real images to learn a style token from.")]
MadeBefore = Annotated[Path | None, typer.Option("--calibration", help="Build folder whose calibration set to use.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Any other setting: calibrate.steps=10. Repeatable.")]
Weights = Annotated[Path | None, typer.Option(help="Checkpoint to load (.safetensors, .pth).")]
Classes = Annotated[Path | None, typer.Option(help="Text file with one class name a line.")]
Evaluation = Annotated[
    Path | None, typer.Option("--eval", help="Images to judge by: labelled folder, .tar shards, Hugging Face data set.")
]
Seed = Annotated[int, typer.Option(help="Same seed, same machine: same bytes.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and check what it needs; do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="One machine-readable line last on standard output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and results.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More lines.")]


@app.command()
def build(
    context: typer.Context,
    model: Model = None,
    output: Output = None,
    config: ConfigFile = None,
    bits: BitsOption = 4,
    weight_bits: WeightBits = None,
    activation_bits: ActivationBits = None,
    target: TargetOption = "onnxruntime",
    preset: Preset = "default",
    images: Images = None,
    qat_epochs: QatEpochs = 0,
    scales: ScalesOption = "float",
    first_last_bits: FirstLastBits = 8,
    keep_float: KeepFloat = None,
    sensitivity: Sensitivity = False,
    average_bits: AverageBits = None,
    size_budget: SizeBudget = None,
    memory_budget: MemoryBudget = "2GB",
    generator: Generator = None,
    real: Real = None,
    calibration: MadeBefore = None,
    weights: Weights = None,
    classes: Classes = None,
    evaluation: Evaluation = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Settings = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """From a network to a verified integer model and its report."""
    from genq_export.pipeline.build import STAGES, default_folder, run_stages

    resolved = _resolve(
        context, model, config, bits=bits, weight_bits=weight_bits, activation_bits=activation_bits, target=target,
        preset=preset, images=images, qat_epochs=qat_epochs, scales=scales,
        first_last_bits=first_last_bits, keep_float=keep_float or (), sensitivity=sensitivity,
        average_bits=average_bits, size_budget=size_budget, memory_budget=memory_budget,
        generator=generator, real=real,
        made_before=calibration, weights=weights, classes=classes, evaluation=evaluation, seed=seed, device=device,
        settings=settings or (),
    )  # fmt: skip
    if dry_run:
        _print_plan(resolved, output, as_json)
        return
    folder = output or default_folder(resolved)
    ran = run_stages(resolved, folder, STAGES, Progress(quiet, verbose))
    _print_result(folder, ran, as_json)


@app.command()
def calibrate(
    context: typer.Context,
    model: Model = None,
    output: Output = None,
    config: ConfigFile = None,
    bits: BitsOption = 4,
    target: TargetOption = "onnxruntime",
    preset: Preset = "default",
    images: Images = None,
    generator: Generator = None,
    real: Real = None,
    weights: Weights = None,
    classes: Classes = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Settings = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make the synthetic calibration set of a build folder."""
    from genq_export.pipeline.build import default_folder

    resolved = _resolve(
        context, model, config, bits=bits, target=target, preset=preset, images=images, generator=generator, real=real,
        weights=weights, classes=classes, seed=seed, device=device, settings=settings or (),
    )  # fmt: skip
    _run_stage("calibrate", resolved, output or default_folder(resolved), Progress(quiet, verbose))


@app.command()
def quantize(
    folder: Folder,
    bits: Annotated[
        int | None, typer.Option(help="Bits of weights and activations; default: as in config.yaml.")
    ] = None,
    calibration: MadeBefore = None,
    model: Annotated[
        str | None, typer.Option(help="Network of a new build folder; its set is the one of --calibration.")
    ] = None,
    preset: Preset = "default",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Quantize on the calibration set of a build folder, its own or the one of --calibration."""
    from genq_export.pipeline.build import run_stages

    resolved = _quantize_config(folder, bits, calibration, model, preset)
    stages = ("quantize",) if calibration is None else ("calibrate", "quantize")
    progress = Progress(quiet, verbose)
    _say_ran("quantize", run_stages(resolved, folder, stages, progress), folder, progress)


@app.command()
def export(folder: Folder, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Fold the quantized network of a build folder into the target's integer file."""
    _run_existing("export", folder, Progress(quiet, verbose))


@app.command()
def verify(
    folder: Folder,
    evaluation: Evaluation = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Runtime to test beside reference, oracle and the target's, repeatable. [default: all here]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the integer oracle computes. [default: the build's, if it is here]")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure accuracy, fidelity and latency of a build folder on this machine, beside what others measured."""
    from genq_export.pipeline.reverify import reverify

    progress = Progress(quiet, verbose)
    result = reverify(folder, progress, evaluation, tuple(backend or ()), device)
    progress.say(f"verify: measured on {result.summary['machine']}; `genq-export report {folder}` shows it")


@app.command()
def report(
    folder: Folder,
    other: Annotated[Path | None, typer.Argument(help="A second build folder to compare with.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull request.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the report of a build folder and print its summary; with two folders, what differs between them."""
    if other is not None:
        from runtime_tests.report import compare

        compared = compare.compare_builds(folder, other)
        if as_markdown:
            print(compare.markdown(compared))
        elif as_json:
            print(compared.model_dump_json())
        else:
            Console().print(compare.terminal(compared))
        return
    ran = _run_existing("report", folder, Progress(quiet or as_markdown))
    if as_markdown:
        print((folder / "summary.md").read_text(), end="")
    else:
        _print_result(folder, ran, as_json)


@app.command()
def audit(
    file: Annotated[Path, typer.Argument(help="A QDQ ONNX file, ours or not, or a TensorRT engine.")],
    target: TargetOption = "onnxruntime",
    as_json: Json = False,
) -> None:
    """Which layers of a file run in integers on a target, and why not the others."""
    from export.audit.file import audit_file
    from genq_export import targets
    from genq_export.cli.tables import audit_table
    from genq_export.config.build import parse_target

    layers = audit_file(file, targets.target(parse_target(target)).audit)
    Console().print(audit_table(layers))
    if as_json:
        print(json.dumps([layer.row() for layer in layers]))


@app.command()
def models(search: Annotated[str, typer.Argument(help="Part of a name.")] = "") -> None:
    """Networks that can be built here, and what timm knows beside them."""
    from genq_export.cli.tables import models_table

    Console().print(models_table(search))


@app.command()
def doctor() -> None:
    """Versions, devices, and which targets and generators work on this machine."""
    from genq_export.cli.tables import doctor_table

    Console().print(doctor_table())


def main() -> None:
    """Entry point: user errors become one line each and exit code 2."""
    try:
        code = app(standalone_mode=False)  # the code of `typer.Exit` comes back as a value
    except UserError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's usage errors
            print(f"error: {error.format_message()}", file=sys.stderr)
            sys.exit(2)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _resolve(context: typer.Context, model: str | None, config: Path | None, **options: Any) -> BuildConfig:
    if config is not None:
        if model is not None:
            raise UserError("give a MODEL or --config, not both")
        given = _settings_given(context)
        if given:
            ignored = ", ".join(given)
            raise UserError(f"--config holds every setting, {ignored} would be ignored: change {config} instead")
        return BuildConfig.read(config)
    if model is None:
        raise UserError("no MODEL given; `genq-export models` lists what can be built")
    return BuildConfig.for_model(model, **options)


def _settings_given(context: typer.Context) -> list[str]:
    """The options on the command line that decide a setting of the build."""
    others = ("output", "config", "dry_run", "as_json", "quiet", "verbose")
    settings = {str(part.name): part.opts[0] for part in context.command.params if part.name not in others}
    sources = {name: context.get_parameter_source(name) for name in settings}
    return [settings[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _quantize_config(
    folder: Path, bits: int | None, calibration: Path | None, model: str | None, preset: Any
) -> BuildConfig:
    from genq_export.pipeline.build import read_config

    if model is not None:
        if calibration is None:
            raise UserError("--model needs --calibration DIR, the build folder whose images to quantize on")
        return BuildConfig.for_model(model, bits=4 if bits is None else bits, preset=preset, made_before=calibration)
    changed = read_config(folder).model_dump(mode="json")
    if bits is not None:
        changed["quantize"] |= {"weight_bits": bits, "activation_bits": bits}
    if calibration is not None:
        changed["calibrate"]["made_before"] = str(calibration)
    return BuildConfig.parse(changed, source="quantize")


def _run_existing(stage: str, folder: Path, progress: Progress) -> tuple[str, ...]:
    from genq_export.pipeline.build import read_config

    return _run_stage(stage, read_config(folder), folder, progress)


def _run_stage(stage: str, config: BuildConfig, folder: Path, progress: Progress) -> tuple[str, ...]:
    from genq_export.pipeline.build import run_stages

    ran = run_stages(config, folder, (stage,), progress)
    _say_ran(stage, ran, folder, progress)
    return ran


def _say_ran(stage: str, ran: tuple[str, ...], folder: Path, progress: Progress) -> None:
    progress.say(f"{stage}: done, see {folder}" if ran else f"{stage}: up to date, nothing to do")


def _print_plan(config: BuildConfig, output: Path | None, as_json: bool) -> None:
    from genq_export.cli.tables import plan_table
    from genq_export.pipeline.build import default_folder, plan
    from genq_export.pipeline.preflight import preflight

    folder = output or default_folder(config)
    planned = plan(config, folder)
    Console().print(plan_table(planned))
    preflight(config, folder)
    if as_json:
        print(json.dumps(planned))


def _print_result(folder: Path, ran: tuple[str, ...], as_json: bool) -> None:
    from genq_export.pipeline.build import last_report
    from runtime_tests.verify.stage import report_summary

    report = last_report(folder)
    if not ran:
        print(f"nothing to do: {folder} is up to date")
    Console().print(report_summary(report))
    print(f"report: {folder / 'report.html'}")
    if as_json:
        print(json.dumps({"folder": str(folder), "ran": ran, "passed": report["passed"], "report": report}))
    if not report["passed"]:
        raise typer.Exit(1)
