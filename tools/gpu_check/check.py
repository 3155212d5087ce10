"""All checks that need a GPU, in six minutes at most; their table goes into docs/gpu.md.

    python3 tools/gpu_check                  (or: make gpu-check)
    python3 tools/gpu_check --device cpu     a rehearsal with small sizes; no page is written

Each check runs in a process of its own: what crashes or hangs becomes a line of the table, and the others go on. What
needs a package that is not there is not run, and says so; the engine is the one part that needs TensorRT.
Exit codes: 0 all passed, 1 a check failed (the table is written), 2 no GPU (nothing is touched).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genq_export.core.workspace import Workspace, package_versions, write_atomic
from genq_export.runtimes.isolation.environment import PYTHON, child_environment
from genq_export.runtimes.timing import read_clocks
from runtime_tests.verify.machine import this_machine

if TYPE_CHECKING:
    from genq_export.runtimes.torch_modules import TorchBackend

BUDGET = 360.0  # seconds
PAGE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"
BEGIN, END = "<!-- gpu-check: begin -->", "<!-- gpu-check: end -->"
COMMAND = "python3 tools/gpu_check"
CHECKS = ("quantize", "oracle", "int8", "generation", "engine")
_ON_BUILD = ("oracle",)  # those that read what "quantize" leaves
_NETWORK = "fashion_resnet"


@dataclass(frozen=True)
class Row:
    """One line of the table. passed: None where nothing was judged, and `figure` says why."""

    check: str
    figure: str
    passed: bool | None = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and write the page; with --only, run one here and print its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose table is written")
    parser.add_argument("--only", choices=CHECKS, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda", help="cpu: a rehearsal with small sizes, whose page is not written")
    parser.add_argument("--images", type=int, default=512, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        rows = run_check(options.only, options.build, options.device, options.images)
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    rehearsal = options.device == "cpu"
    reason = None if rehearsal else no_gpu()
    if reason:
        print(f"error: {reason}: {options.page} is left as it is", file=sys.stderr)
        return 2
    started = time.monotonic()
    rows = run_all(started + BUDGET, device=options.device)
    if not rehearsal:
        write_page(options.page, rows, time.monotonic() - started)
    for row in rows:
        print(f"{_outcome(row):8} {row.check}: {row.figure}")
    return 1 if any(row.passed is False for row in rows) else 0


def no_gpu() -> str | None:
    """Why there is no GPU to check; None where there is one."""
    import torch

    if torch.cuda.is_available():
        return None
    return f"the checks need an NVIDIA GPU, and this machine or this torch ({torch.__version__}) has none"


OpenOracle = Callable[[Path, str], "TorchBackend"]
Run = Callable[[list[str], float], tuple[int | None, str, str]]
"""`run_command`, or what tests put in its place."""


def run_command(command: list[str], deadline: float) -> tuple[int | None, str, str]:
    """Exit code (None: out of time), the last line of standard output, and why it failed."""
    left = deadline - time.monotonic()
    if left <= 0:
        return None, "", f"not run within the {BUDGET:.0f} s of all checks"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=left, check=False, env=child_environment()
        )
    except subprocess.TimeoutExpired:
        return None, "", f"stopped at the end of the {BUDGET:.0f} s of all checks"
    lines, errors = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
    return done.returncode, lines[-1] if lines else "", errors[-1] if errors else f"exit code {done.returncode}"


def run_all(deadline: float, run: Run = run_command, device: str = "cuda") -> list[Row]:
    """Every check in turn until the deadline (`time.monotonic()`)."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder) / "build"
        for name in CHECKS:
            if name in _ON_BUILD and not (build / "model.safetensors").is_file():
                rows.append(Row(name, "not run: nothing was quantized", None))
                continue
            command = [
                *PYTHON,
                "-m",
                "tools.gpu_check.check",
                "--only",
                name,
                "--build",
                str(build),
                "--device",
                device,
            ]
            code, output, error = run(command, deadline)
            rows += [Row(**row) for row in json.loads(output)] if code == 0 else [_failed(name, error)]
    return rows


def _failed(name: str, error: str) -> Row:
    """A check that needs what is not installed judges nothing."""
    missing = error.startswith("ModuleNotFoundError: ")
    return Row(name, f"not run: {error.partition(': ')[2]}", None) if missing else Row(name, error, False)


def run_check(name: str, build: Path | None, device: str, images: int) -> list[Row]:
    """Rows of one check, computed in this process."""
    if name == "generation":
        return [generation_row(device)]
    if name == "int8":
        return int8_rows(device)
    assert build is not None, f"{name} needs --build"
    if name == "quantize":
        return quantize_rows(build, device)
    return [oracle_row(build, device, images)] if name == "oracle" else engine_rows_of_build(build.with_name("engine"))


def quantize_rows(build: Path, device: str) -> list[Row]:
    """The quantize stage on the zoo's images, ranges alone and learned; leaves the folded model in the build folder."""
    from tools.gpu_check.quantize import quantized

    steps, images = (10, 16) if device == "cpu" else (500, 256)
    ranges = quantized(build, _NETWORK, device, 0, images)
    learned = quantized(build, _NETWORK, device, steps, images)
    figure = f"{ranges:.1f} s for ranges, {learned:.1f} s with {steps} learned steps a block"
    return [Row(f"quantize stage, {_NETWORK} W4A4, {images} images, on {device}", figure)]


def oracle_row(build: Path, device: str, count: int, open_there: "OpenOracle | None" = None) -> Row:
    """The integer oracle on `device` against the CPU: every code of the first `count` images of the zoo's test set.

    open_there: opens the one on `device`; None: as verification opens it.
    """
    import numpy as np
    import torch

    from genq_export import zoo
    from genq_export.config.model import ModelConfig
    from genq_export.models.source import load_model
    from genq_export.runtimes.torch_modules import oracle_backend
    from runtime_tests.verify.code_comparison import largest_gap

    pixels, _ = zoo.test_set()
    images = load_model(ModelConfig(name=_NETWORK)).normalize(torch.from_numpy(pixels[:count])).numpy()
    here, there = oracle_backend(build), (open_there or oracle_backend)(build, device)
    codes = differing = 0
    outputs = 0.0
    for batch in np.array_split(images, 4):
        (expected_outputs, expected), (found_outputs, found) = here.codes(batch), there.codes(batch)
        outputs = max(outputs, largest_gap(expected_outputs, found_outputs))
        codes += sum(array.size for array in expected.values())
        differing += sum(int((expected[name] != found[name]).sum()) for name in expected)
    figure = f"{differing:,} of {codes:,} codes differ on {len(images)} images, logits by at most {outputs:.2g}"
    return Row(f"integer oracle on {device} against the CPU", figure, differing == 0)


def int8_rows(device: str) -> list[Row]:
    """The folded network in the GPU's own int8 products, and what TensorRT-RTX says of its engine here."""
    from tools.gpu_check.int8 import check

    return [Row(*row) for row in (check(device, "resnet18", 64) if device == "cpu" else check(device))]


def engine_rows_of_build(build: Path) -> list[Row]:
    """A whole build for TensorRT, images drawn on the GPU, and what its verification says of the engine."""
    from genq_export.runtimes.tensorrt_packages import engine_builder

    if engine_builder() is None:
        return [Row("TensorRT engine: codes, answers, latency", "not run: no TensorRT for this GPU here", None)]
    command = [*PYTHON, "-m", "genq_export", "build", _NETWORK, "--target", "tensorrt", "--preset", "quick"]
    command += ["--images", "64", "--device", "cuda", "--set", "verify.fidelity_images=256", "-o", str(build)]
    built, _, error = run_command(command, time.monotonic() + BUDGET)
    # A build whose gates fail is whole; what is wrong with it is what the checks are for.
    if built not in (0, 1) or not (build / "verify.json").is_file():
        return [Row("build fashion_resnet W4A4 for TensorRT", error, False)]
    return engine_rows(build)


def engine_rows(build: Path) -> list[Row]:
    """What verification measured of the TensorRT engine: codes, answers and latency against an FP16 engine."""
    from runtime_tests.verify.verify_file import read_verification

    run = read_verification(Workspace.existing(build)).runs[-1]
    backend = next((item for item in run.backends if item.name == "tensorrt"), None)
    if backend is None or backend.status != "ok":
        detail = backend.detail if backend is not None else "it was not tried"
        missing = backend is None or backend.status == "missing"
        return [Row("TensorRT engine", detail, None if missing else False)]
    rows = [Row("TensorRT engine", f"{backend.title} on {backend.device}")]
    for item in run.fidelity:
        if item.backend == "tensorrt":
            figure = f"{item.differing:,} of {item.codes:,} codes differ, by at most {item.largest}"
            first = f"; first at {item.first_diverging}: {item.explanation}" if item.differing else ""
            rows.append(Row(f"engine against the oracle, {item.images} images", figure + first, item.match >= 0.9999))
    same = run.agreement.get("tensorrt_vs_reference")
    if same is not None and run.evaluation is not None:
        rows.append(
            Row(f"engine and reference, {run.evaluation.n:,} images", f"{100 * same:.2f} % same class", same >= 0.999)
        )
    if run.latency is None:
        return [*rows, Row("latency", "; ".join(run.notes) or "not measured", False)]
    for row in run.latency.rows:
        if row.variant != "deployed again":
            kind = "FP16 engine" if row.variant == "float" else "INT8 engine"
            how = "CUDA graph" if row.cuda_graph else "enqueued, not captured"
            figure = (
                f"{row.median_ms:.4f} ms median, {row.p99_ms:.4f} p99, {row.images_per_second:,.0f} images/s, {how}"
            )
            rows.append(Row(f"{kind}, batch {row.batch}", figure))
    latency = run.latency
    verdict = f"{latency.speedup:.2f} times" if latency.significant else "no difference"
    figure = f"{verdict} at batch {latency.batch}, noise {100 * latency.noise:.1f} %; clocks {latency.clocks}"
    return [*rows, Row("INT8 against FP16", figure)]


def generation_row(device: str) -> Row:
    """Images a second of Stable Diffusion 1.5's architecture."""
    import torch

    from tools.gpu_check.generation import SMALL, Shape, images_per_second

    if device == "cpu":
        speed = images_per_second(device, torch.float32, SMALL, 16, 3, 2)
        return Row("a pipeline of two small blocks, 16 px, 3 steps", f"{speed:.2f} images/s", speed > 0)
    pixels, steps, batch = 512, 25, 8
    speed = images_per_second(device, torch.float16, Shape(), pixels, steps, batch)
    check = f"Stable Diffusion 1.5 architecture, {pixels} px, {steps} steps, fp16, batch {batch}"
    return Row(check, f"{speed:.2f} images/s, {1000 / speed / 60:.1f} minutes per 1,000", speed > 0)


def write_page(page: Path, rows: Sequence[Row], seconds: float) -> None:
    """Put the table, the hardware and the command between the marks of the page, all at once."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"error: {page} has lost the marks {BEGIN} and {END}")
    write_atomic(page, f"{before}{BEGIN}\n{table(rows, seconds)}\n{END}{after}".encode())


def table(rows: Sequence[Row], seconds: float) -> str:
    """The table as Markdown, with what it was measured on."""
    machine = this_machine()
    versions = ", ".join(f"{name} {number}" for name, number in {**package_versions(), **_further()}.items())
    lines = [
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} by `{COMMAND}` in {seconds:.0f} s.",
        "",
        f"* GPU: {machine.gpu or 'none'}; clocks at the end: {read_clocks() or 'not readable'} (none was set)",
        f"* Host: {machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}",
        f"* Versions: {versions}",
        "",
        "| check | figure | outcome |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {_cell(row.check)} | {_cell(row.figure)} | {_outcome(row)} |" for row in rows)])


def _further() -> dict[str, str]:
    """Versions of what only a GPU needs."""
    import torch

    from runtime_tests.verify.machine import further_versions

    return {"CUDA": str(torch.version.cuda), **further_versions()}


def _outcome(row: Row) -> str:
    return "–" if row.passed is None else "ok" if row.passed else "FAILED"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
