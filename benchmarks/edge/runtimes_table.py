"""A result of `runtimes.py`, and the Markdown table."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Result:
    """One runtime on one file. What a result with an `error` has not is None.

    equal: images whose logits are the integer model's bit for bit. gap: largest difference. same: equal top-1. integer:
    of `layers` convolutions and matrix products, how many run in integers; None where the runtime does not say.
    """

    runtime: str
    file: str
    version: str | None = None
    equal: int | None = None
    gap: float | None = None
    same: int | None = None
    images: int | None = None
    integer: int | None = None
    layers: int | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes a result the same measurement."""
        return self.runtime, self.file

    def summary(self) -> str:
        """One line for the log."""
        return f"{self.runtime}, {self.file}: {self.error or self.cell()}"

    def cell(self) -> str:
        """Logits; answers, where some are others; layers in integers."""
        if self.error is not None:
            return "refused"
        logits = "equal" if self.equal == self.images else f"{self.equal} of {self.images}, {self.gap:.2g}"
        share = (self.same or 0) / (self.images or 1)
        answers = f", **{100 * share:.1f} %**" if share < 1 else ""
        kernels = f"; {self.integer}/{self.layers}" if self.layers is not None else ""
        return f"{logits}{answers}{kernels}"


def table(results: Sequence[Result]) -> str:
    """A row for each runtime, a column for each file; below it why files were refused."""
    files = sorted({result.file for result in results})
    lines = [f"| runtime | {' | '.join(files)} |", "|---|" + "---|" * len(files)]
    reasons = []
    for runtime, group in groupby(results, key=lambda result: result.runtime):
        found = {result.file: result for result in group}
        lines.append(f"| {runtime} | {' | '.join(found[name].cell() if name in found else '–' for name in files)} |")
        refused = {result.error: [] for result in found.values() if result.error is not None}
        for name in files:
            if name in found and found[name].error is not None:
                refused[found[name].error].append(name)
        reasons += [f"* {runtime}, {', '.join(names)}: `{error}`" for error, names in refused.items()]
    return "\n".join([*lines, "", *reasons])
