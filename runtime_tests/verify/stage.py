"""The two last stages of a build: `verify` measures, `report` tells."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from runtime_tests.verify.results import Verification, VerifyFile

if TYPE_CHECKING:
    from rich.console import Group

    from genq_export.models.loaded import LoadedModel


def run_verify(
    workspace: Workspace,
    config: BuildConfig,
    model: "LoadedModel",
    progress: Progress,
    calibration: Sequence[Path] = (),
    notes: tuple[str, ...] = (),
) -> StageResult:
    """Measure the build on this machine and write `verify.json`; `notes` are kept with the run.

    calibration: the build's calibration images; codes are compared on them where there is no evaluation set.

    Runs of other machines or on other images stay beside the new one. This machine's earlier run on the same images is
    replaced, and so is everything measured on files that have changed since. The summary says whether the run stands
    `beside` all the others. Raises UserError for evaluation data that cannot be used.
    """
    from runtime_tests.verify.run import verify

    started = time.perf_counter()
    run = verify(workspace, config, model, progress, calibration)
    run = run.model_copy(update={"notes": (*notes, *run.notes)})
    earlier = _earlier(workspace)
    kept = tuple(item for item in earlier if item.artefacts == run.artefacts and not _same_place(item, run))
    workspace.write_json("verify.json", VerifyFile(runs=(*kept, run)).model_dump(mode="json"))
    return StageResult(
        outputs=["verify.json"],
        summary={
            "machine": run.machine.name,
            "beside": bool(earlier) and kept == earlier,
            "seconds": round(time.perf_counter() - started, 1),
            "backends": {item.name: item.status for item in run.backends},
            "top1": {name: score.top1 for name, score in run.accuracy.items()},
            "agreement": run.agreement,
            "codes_differing": {item.backend: item.differing for item in run.fidelity},
        },
    )


def run_report(workspace: Workspace, config: BuildConfig, progress: Progress) -> StageResult:
    """Write report.html, report.json, layers.csv and summary.md from what the build folder holds.

    The summary has `passed`, `verdict` and the sentences of failed gates. Raises UserError where verify has not run.
    """
    from runtime_tests.report.assemble import assemble
    from runtime_tests.report.html import render_html
    from runtime_tests.report.text import layers_csv, markdown

    report = assemble(workspace, config)
    files = {
        "report.json": report.model_dump_json(indent=1) + "\n",
        "report.html": render_html(report, workspace.folder),
        "layers.csv": layers_csv(report),
        "summary.md": markdown(report),
    }
    for name, content in files.items():
        workspace.write_bytes(name, content.encode())
    progress.detail(f"  wrote {', '.join(files)}")
    failed = [gate.sentence for gate in report.gates if not gate.passed]
    return StageResult(
        outputs=sorted(files), summary={"passed": report.passed, "verdict": report.verdict, "failed": failed}
    )


def report_summary(report: Mapping[str, Any]) -> "Group":
    """A rich renderable of a report (the parsed `report.json`) for the terminal."""
    from runtime_tests.report.assemble import Report
    from runtime_tests.report.text import terminal

    return terminal(Report.model_validate(dict(report)))


def _earlier(workspace: Workspace) -> tuple[Verification, ...]:
    """What was measured before."""
    from genq_export.core.errors import UserError
    from runtime_tests.report.assemble import read_verification

    if not workspace.path("verify.json").is_file():
        return ()
    try:
        return read_verification(workspace).runs
    except UserError:
        return ()  # damaged or of another version: measured again now


def _same_place(first: Verification, second: Verification) -> bool:
    """The same machine and the same images? Names alone do not tell: virtual machines share them."""
    places = [
        (run.machine.name, run.machine.cpu, run.machine.cores, run.machine.gpu, run.evaluation and run.evaluation.name)
        for run in (first, second)
    ]
    return places[0] == places[1]
