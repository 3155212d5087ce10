"""The report of a build killed before each of its changes, and what was left and made of it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace, sha256
from genq_export.pipeline.build import read_config, run_stages
from runtime_tests.report.model import read_report
from tests.robustness.killed import changes, die_at, in_child

REPORT_FILES = ("report.json", "report.html", "layers.csv", "summary.md")
_QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Kill:
    """One moment, as (event, name of a file), and why what came of it is not as promised; empty where it is."""

    moment: tuple[str, str]
    faults: tuple[str, ...]

    @property
    def same_bytes(self) -> bool:
        """Were all files whole, and the same in the end as without the kill?"""
        return not self.faults


def hashes(folder: Path) -> dict[str, str]:
    """Of every file that is no temporary one and no log."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".log"
    }


def write_report(folder: Path) -> None:
    """Make the report of a folder whose report is an older one."""
    assert run_stages(read_config(folder), folder, ("report",), _QUIET) == ("report",)


def kill_the_report(stale: Path, home: Path, every: int = 1) -> list[Kill]:
    """Kill the making of a report at all of its changes, or at every so many.

    Args:
        stale: a build folder with an older report; it stays as it is.
        home: where to work.
        every: 1 for all.
    """
    watched, whole = (Path(shutil.copytree(stale, home / name)) for name in ("watched", "whole"))
    moments = changes(watched, lambda: write_report(watched))
    assert {("os.rename", name) for name in (*REPORT_FILES, "config.yaml", "manifest.json")} <= set(moments)
    write_report(whole)
    before, after = hashes(stale), hashes(whole)
    kills = []
    for number, moment in list(enumerate(moments))[::every]:
        folder = Path(shutil.copytree(stale, home / f"killed-{number}"))
        kills.append(Kill(moment, tuple(_faults(folder, number, before, after))))
        shutil.rmtree(folder)
    return kills


def _faults(folder: Path, number: int, before: dict[str, str], after: dict[str, str]) -> list[str]:
    def work() -> None:
        die_at(folder, number)
        write_report(folder)

    was = Workspace.existing(folder).read_manifest().stages["report"]
    found = [] if in_child(work) == -9 else ["it was not killed"]
    left = hashes(folder)
    del left["manifest.json"]
    halves = [name for name in left if left[name] not in (before.get(name), after.get(name))]
    found += [f"{name} is neither the old one nor the new one" for name in halves]
    recorded = Workspace.existing(folder).read_manifest().stages["report"]
    if recorded != was and not all(left.get(name) == digest for name, digest in recorded.outputs.items()):
        found.append("the manifest lists what is not there")
    run_stages(read_config(folder), folder, ("report",), _QUIET)
    ended = hashes(folder)
    found += [f"{name} has other bytes in the end" for name in REPORT_FILES if ended.get(name) != after[name]]
    if list(folder.rglob(".*.part")):
        found.append("a temporary file stays")
    read_report(folder)
    return found
