"""The winner in its own folder, measured in full; or the float network, where no build is better."""

import shutil
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.pipeline.build import are_fresh, run_stages
from genq_export.pipeline.stages import STAGES
from genq_export.pipeline.tune.candidate import Candidate
from genq_export.pipeline.tune.verdict import Tuned

CANDIDATES, WINNER, FLOAT_FILE = "candidates", "winner", "float.onnx"


def ship(config: BuildConfig, folder: Path, tuned: Tuned, candidates: dict[str, Candidate], progress: Progress) -> None:
    """Copy the winner and measure it in full; or write the float network where nothing is better.

    Args:
        config: what the candidates have in common, with the measurements asked for.
        folder: of `tune`.
        tuned: what was found.
        candidates: what was built, by name.
        progress: where to say what is done.

    Raises:
        UserError: as `run_stages` does.
    """
    place = folder / WINNER
    if tuned.winner is None:
        _ship_float(config, folder / FLOAT_FILE)
        shutil.rmtree(place, ignore_errors=True)
        return
    (folder / FLOAT_FILE).unlink(missing_ok=True)
    full = _in_full(candidates[tuned.winner], config, tuned)
    if not (place.is_dir() and are_fresh(Workspace(place), full, STAGES[:3])):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / CANDIDATES / tuned.winner, place)
    run_stages(full, place, STAGES, progress)


def _in_full(candidate: Candidate, config: BuildConfig, tuned: Tuned) -> BuildConfig:
    """The build of the winner with the measurements asked for, and the limit as a gate where it is one of points."""
    assert tuned.winner is not None
    gates = config.verify.gates
    if tuned.outcome(tuned.winner).unit == "points":
        limit = min(max(tuned.conditions.limit("points"), -100.0), 100.0)
        gates = gates.model_copy(update={"max_accuracy_loss": limit})
    if candidate.kept:
        gates = gates.model_copy(update={"min_integer_share": 0.0})
    verify = config.verify.model_copy(update={"gates": gates})
    return candidate.config(config).model_copy(update={"verify": verify})


def _ship_float(config: BuildConfig, path: Path) -> None:
    from genq_export.models.source import load_model
    from runtime_tests.verify.float_baseline import export_float

    export_float(load_model(config.model), path)
