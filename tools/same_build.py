"""Prove that two revisions make the same models: `python -m tools.same_build OLD_COMMIT`.

Builds the cases below with an old revision and with the working tree, on this machine, in this run (another CPU may
round otherwise), and compares what they made number by number (`tools.compare_builds`). Names, the order of nodes and
metadata may differ. Exit code 0: all is equal; 1: something is not; 2: a case could not be built.

Builds that were finished in `--old-builds` or `--new-builds` are used again while their revision is the same; one that
was begun is continued.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from genq_export import zoo
from tools.compare_builds import RENAMED_WORDS, Comparison, compare_folders, compare_runs, compare_tensors
from tools.tree_state import PACKAGES, tree_state

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 64  # test images that every code and logit is compared for
SETTINGS = ("--set", "verify.latency_runs=10")  # latency is not compared
QUICK = ("--preset", "quick", "--images", "64")
CASES: dict[str, tuple[str, ...]] = {
    **{
        f"{name}-{bits}-{target}": (name, "--bits", bits, "--target", target, *QUICK)
        for name in ("fashion_resnet", "fashion_mobilenet", "fashion_vit")
        for bits in ("4", "8")
        for target in ("onnxruntime", "tensorrt")
    },
    "average5": ("fashion_vit", "--average-bits", "5", *QUICK),
    "qat": ("fashion_resnet", "--bits", "4", "--qat-epochs", "2"),
}


class BuildFailed(Exception):
    """A build ended with something else than a finished report."""


@dataclass(frozen=True)
class Revision:
    """One side. tree: its files. state: what its builds depend on. builds: the folder they go to."""

    title: str
    tree: Path
    state: str
    builds: Path

    def run(self, arguments: list[str], log: Path) -> int:
        """Run Python with this revision's packages; returns the exit code, output goes to `log`."""
        environment = os.environ | {"PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with log.open("w") as file:
            command = [sys.executable, "-P", str(ROOT / "tools" / "run_tree.py"), *arguments]
            return subprocess.run(
                command, cwd=log.parent, env=environment, stdout=file, stderr=file, check=False
            ).returncode


def main(arguments: list[str] | None = None) -> int:
    """Build, compare and print; returns the exit code."""
    options = _parser().parse_args(arguments)
    commit = _git("rev-parse", f"{options.old_commit}^{{commit}}").decode().strip()
    words = ", ".join(f"{then} = {now or 'nothing'}" for then, now in RENAMED_WORDS.items())
    print(f"names are the same where their words are: '.', '/' and '_' separate words, {words}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        unpack(commit, Path(scratch, "old"))
        old = Revision(f"old {commit[:10]}", Path(scratch, "old"), commit, options.old_builds or Path(scratch, "a"))
        new = Revision("new", ROOT, tree_state(ROOT, PACKAGES), options.new_builds or Path(scratch, "b"))
        results = {name: run_case(name, old, new, Path(scratch)) for name in options.only or CASES}
    print(table(results))
    if any(lines is None for lines in results.values()):
        return 2
    return 0 if all(line.same for lines in results.values() for line in lines or []) else 1


def run_case(name: str, old: Revision, new: Revision, scratch: Path) -> list[Comparison] | None:
    """Build one case twice and print each comparison; None where one of the two could not be built or run."""
    print(f"\n{name}: build {' '.join(CASES[name])}", flush=True)
    try:
        codes = [build(revision, name) for revision in (old, new)]
        lines = compare_case(name, old, new, scratch)
    except BuildFailed as error:
        print(f"error: {error}", flush=True)
        return None
    lines.append(Comparison("exit code", int(codes[0] == codes[1]), 1, "builds", f"{codes[0]} and {codes[1]}"))
    print("\n".join(f"  {line}" for line in lines), flush=True)
    return lines


def build(revision: Revision, case: str) -> int:
    """Build a case, or use the finished build that is there; returns the exit code (1: a gate failed).

    Raises:
        BuildFailed: the build ended with an error.
    """
    folder, marker = revision.builds / case, revision.builds / f"{case}.built.json"
    folder.parent.mkdir(parents=True, exist_ok=True)
    built = json.loads(marker.read_text()) if marker.is_file() else None
    if built and built["state"] != revision.state:
        shutil.rmtree(folder, ignore_errors=True)
    elif built and built["exit_code"] is not None:
        print(f"  {revision.title}: built before", flush=True)
        return int(built["exit_code"])
    marker.write_text(json.dumps({"state": revision.state, "exit_code": None}))
    started = time.monotonic()
    arguments = ["-m", "genq_export", "build", *CASES[case], *SETTINGS, "-o", case]
    code = revision.run(arguments, log := revision.builds.resolve() / f"{case}.log")
    if code not in (0, 1) or not (folder / "report.json").is_file():
        raise BuildFailed(f"{revision.title}: exit code {code}, see {log}:\n{_tail(log)}")
    marker.write_text(json.dumps({"state": revision.state, "exit_code": code}))
    print(f"  {revision.title}: built in {time.monotonic() - started:.0f} s", flush=True)
    return code


def compare_case(name: str, old: Revision, new: Revision, scratch: Path) -> list[Comparison]:
    """Compare what both builds hold, and what both revisions and ONNX Runtime compute from them."""
    folders = old.builds.resolve() / name, new.builds.resolve() / name
    images = test_images()
    save_file({"images": images}, scratch / "images.safetensors")
    computed = []
    for revision, folder in zip((old, new), folders, strict=True):
        out, log = scratch / "computed.safetensors", scratch / "probe.log"
        probe = [str(ROOT / "tools" / "probe_build.py"), str(revision.tree), str(folder)]
        if revision.run([*probe, str(scratch / "images.safetensors"), str(out)], log) != 0:
            raise BuildFailed(f"{revision.title} cannot run {folder}:\n{_tail(log)}")
        computed.append(load_file(out))
    before, after = (folder / "model.onnx" for folder in folders)
    runs = compare_runs(before, after, images, as_written="tensorrt" in name)
    own = [
        compare_tensors(part, *({k: v for k, v in side.items() if k.startswith(f"{part}.")} for side in computed))
        for part in ("reference", "oracle", "load")
    ]
    return [*compare_folders(*folders), *runs, *own]


def test_images() -> np.ndarray:
    """Return the first test images, preprocessed as every network of the zoo wants them: float32 [N, 3, 32, 32]."""
    pixels = zoo.test_set()[0][:IMAGES].astype(np.float32)
    return np.ascontiguousarray((pixels / 255 - 0.5).transpose(0, 3, 1, 2) / 0.5)


def unpack(commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
        archive.extractall(folder, filter="data")


def table(results: dict[str, list[Comparison] | None]) -> str:
    """Return a row a case: how many comparisons are equal, and which are not."""
    rows = [f"\n{'case':<34} result"]
    for name, lines in results.items():
        unlike = [line.what for line in lines or [] if not line.same]
        result = "could not be built or run" if lines is None else f"{len(lines) - len(unlike)} of {len(lines)} equal"
        rows.append(f"{name:<34} {result}{'; unlike: ' if unlike else ''}{', '.join(unlike)}")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.same_build", description=__doc__.partition("\n")[0])
    parser.add_argument("old_commit", help="the revision to compare the working tree with")
    parser.add_argument("--old-builds", type=Path, metavar="DIR", help="keep the old revision's builds here")
    parser.add_argument("--new-builds", type=Path, metavar="DIR", help="keep the working tree's builds here")
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help="this case; may be repeated")
    return parser


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


if __name__ == "__main__":
    sys.exit(main())
