"""How long verification takes, and how much of a build is faithful: figures of one finished build folder.

    python benchmarks/verification.py build/demo [--backends reference oracle …] [--images 256]

Runs what `genq-export verify` runs on all evaluation images of the build, less latency; writes nothing. Codes are
compared on `--images` of them.
"""

import argparse
import sys
from pathlib import Path

# A script's own folder is searched first, and a file there is named as our package `export` is.
# ruff: noqa: E402
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.pipeline.build import read_config
from runtime_tests.verify.results import Verification
from runtime_tests.verify.run import verify
from runtime_tests.verify.speed import Speed


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--backends", nargs="+", help="default: all that are installed")
    parser.add_argument("--images", type=int, default=256)
    options = parser.parse_args()
    values = read_config(options.build).model_dump(mode="json")
    values["verify"] |= {"backends": options.backends, "fidelity_images": options.images}
    config = BuildConfig.parse(values)
    model, quiet = load_model(config.model), Progress(quiet=True)
    run = verify(Workspace.existing(options.build), config, model, quiet, measure_speed=no_speed)
    print(report(run))


def no_speed(*_: object) -> Speed:
    """Latency and size are not measured."""
    return Speed()


def report(run: Verification) -> str:
    """Markdown."""
    evaluation = run.evaluation
    assert evaluation is not None
    lines = [
        f"{evaluation.name}, {evaluation.n} images; {run.machine.cpu}, {run.machine.cores} cores",
        "",
        "| part | seconds |",
        "|---|---|",
        *(f"| {name} | {value:.1f} |" for name, value in run.seconds.items() if name != "latency"),
        "",
        "| backend | codes | differing | same class as the reference | top-1 |",
        "|---|---|---|---|---|",
    ]
    codes = {item.backend: item for item in run.fidelity}
    for item in run.backends:
        found, score = codes.get(item.name), run.accuracy.get(item.name)
        same = run.agreement.get(f"{item.name}_vs_reference")
        cells = [
            item.name if item.status == "ok" else f"{item.name} ({item.status}: {item.detail})",
            f"{found.codes:,}" if found else "–",
            f"{found.differing:,}" if found else "–",
            f"{100 * same:.2f} %" if same is not None else "–",
            f"{100 * score.top1:.2f} %" if score else "–",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
