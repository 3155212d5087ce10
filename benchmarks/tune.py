"""How good is what `genq-export tune` finds, and what does it cost? The whole grid of a zoo network, built once.

    python benchmarks/tune.py --out bench [--model fashion_resnet] [--iterations 200] [--images 256]

The grid: W8A8, W4A8, W4A4 and mixed precision, each in closed form, with one and with two of the worst layers in
float, and learned, and W4A4 with some activations of 8 bits: 17 builds. Every build is one of `tune`'s own candidates,
in the folder that it would use. Then the search is run over what was measured, with several conditions: which builds it
asks for, the share of the grid's seconds that these took, and whether the winner lies on the grid's Pareto front within
noise (no build has both a loss smaller by more than half an interval of 95 % and a time or size smaller by more than
2 %).
"""

# ruff: noqa: E402 - the folder leaves the search path before the packages are imported

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# A script's own folder is searched first, and a file in it is named as our package `export` is.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.pipeline.tune.candidate import CHEAP, Candidate
from genq_export.pipeline.tune.choice import KEPT, SAME, WIDE, Conditions, next_candidate
from genq_export.pipeline.tune.outcome import Outcome
from genq_export.pipeline.tune.picture import axis_of
from genq_export.pipeline.tune.run import built
from genq_export.pipeline.tune.verdict import judged

# Half of the interval of a difference of points, paired, on 10,000 images of which 1 % change sides.
NOISE = 0.2
CONDITIONS = (
    Conditions(max_loss=1.0, minimize="latency"),
    Conditions(max_loss=1.0, minimize="size"),
    Conditions(max_loss=0.05, minimize="size"),
    Conditions(max_loss=0.2, minimize="loss"),
)


def main() -> None:
    """Build what is missing of the grid, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="fashion_resnet")
    parser.add_argument("--iterations", type=int, default=200, help="learned steps a block")
    parser.add_argument("--images", type=int, default=256)
    options = parser.parse_args()
    steps = f"quantize.reconstruction.iterations={options.iterations}"
    config = BuildConfig.for_model(options.model, images=options.images, settings=[steps])
    grid = build_grid(config, options.out / f"{options.model}-tuned")
    total = sum(outcome.seconds for outcome in grid.values())
    print(f"\n{options.model}: {len(grid)} builds in {total:.0f} s\n")
    print("| at most, points | to be small | winner | builds | share of the grid's time | on the front |")
    print("|---|---|---|---|---|---|")
    for conditions in CONDITIONS:
        print(row(config, conditions, grid, total))


def build_grid(config: BuildConfig, folder: Path) -> dict[Candidate, Outcome]:
    """Every candidate with its outcome."""
    grid: dict[Candidate, Outcome] = {}
    for cheap in CHEAP:
        grid[cheap] = show(built(cheap, config, folder, Progress(quiet=True)))
        bits = cheap.weight_bits, cheap.activation_bits
        for candidate in (
            *(Candidate(*bits, kept=grid[cheap].worst[:count]) for count in KEPT),
            Candidate(*bits, learned=True),
        ):
            grid[candidate] = show(built(candidate, config, folder, Progress(quiet=True)))
    grid[WIDE] = show(built(WIDE, config, folder, Progress(quiet=True)))
    return grid


def show(outcome: Outcome) -> Outcome:
    """Print a build."""
    print(
        f"{outcome.name:22} {outcome.loss:+.2f} {outcome.unit}, {1 / (outcome.time_share or 1):.2f} times as fast,"
        f" {1 / outcome.size_share:.2f} times smaller, {outcome.seconds:.0f} s",
        flush=True,
    )
    return outcome


def row(config: BuildConfig, conditions: Conditions, grid: dict[Candidate, Outcome], total: float) -> str:
    """What the search finds under conditions, and at what cost."""
    tried: dict[Candidate, Outcome] = {}
    while candidate := next_candidate(tried, [], conditions, learn=True):
        tried[candidate] = grid[candidate]
    found = judged(config, conditions, list(tried.values()), {}, None)
    share = sum(outcome.seconds for outcome in tried.values()) / total
    winner = None if found.winner is None else found.outcome(found.winner)
    place = "–" if winner is None else "yes" if on_front(winner, list(grid.values()), conditions) else "no"
    return f"| {conditions.max_loss} | {conditions.minimize} | {found.winner} | {len(tried)} | {share:.0%} | {place} |"


def on_front(winner: Outcome, grid: Sequence[Outcome], conditions: Conditions) -> bool:
    """Is no build of the grid better in both, beyond noise?"""
    axis = axis_of(grid, conditions)
    margin = max(SAME, winner.noise)
    return not any(
        other.loss < winner.loss - NOISE and other.cost(axis) * (1 + margin) < winner.cost(axis) for other in grid
    )


if __name__ == "__main__":
    main()
