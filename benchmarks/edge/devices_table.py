"""A result of `devices.py`, and the Markdown table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Result:
    """The check of one build on one device. What a result with an `error` has not is None.

    golden: digest of the golden data, which tells builds apart. The other fields are those of the check's result.
    """

    device: str
    network: str
    golden: str
    runtime: str | None = None
    threads: int | None = None
    images: int | None = None
    outputs_equal: bool | None = None
    outputs_largest_gap: float | None = None
    same_answers: int | None = None
    quantizers: int | None = None
    quantizers_unlike: int | None = None
    codes_equal: float | None = None
    first_unlike: str | None = None
    first_unlike_by: int | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes a result the same measurement."""
        return self.device, self.golden

    def summary(self) -> str:
        """One line for the log."""
        said = f"{self.device}, {self.network}: {self.error or self.cell()}"
        return said + (f"; first {self.first_unlike}, by {self.first_unlike_by}" if self.first_unlike else "")

    def cell(self) -> str:
        """`equal` where outputs and codes of all images are; else what is not."""
        if self.error is not None:
            return "refused"
        if self.outputs_equal and not self.quantizers_unlike:
            return "equal"
        assert self.codes_equal is not None
        answers = f"{self.same_answers} of {self.images} answers"
        if not self.quantizers_unlike:
            return f"codes equal, outputs within {self.outputs_largest_gap:.2g}, {answers}"
        share = min(math.floor(self.codes_equal * 1e5), 99_999) / 1e3  # what is not all of them is not 100 %
        return f"{share:.3f} % of codes, {answers}"


def table(results: Sequence[Result]) -> str:
    """A row for each network, a column for each device; below it why files were refused."""
    devices = list(dict.fromkeys(result.device for result in results))
    lines = [f"| network | images | {' | '.join(devices)} |", "|---|---|" + "---|" * len(devices)]
    rows = sorted(results, key=lambda result: (result.network, result.golden))
    for (network, _), group in groupby(rows, key=lambda result: (result.network, result.golden)):
        found = {result.device: result for result in group}
        images = next((str(result.images) for result in found.values() if result.images is not None), "–")
        cells = " | ".join(found[name].cell() if name in found else "–" for name in devices)
        lines.append(f"| {network} | {images} | {cells} |")
    reasons = [f"* {item.device}, {item.network}: `{item.error}`" for item in results if item.error is not None]
    return "\n".join([*lines, *(["", *reasons] if reasons else [])])
