"""A result of `peers.py`, and the Markdown tables."""

from collections.abc import Sequence
from dataclasses import dataclass

BITS = ("W8A8", "W4A8", "W4A4-8", "W4A4")
MARKS = {"in torch": " ᵗ", "sums may saturate": " ˢ"}  # behind a figure, by how it was judged


@dataclass(frozen=True)
class Result:
    """One tool on one network. settings: JSON, part of the key; words: the same for people.

    source: images it calibrated on, `images` of them; judged: how (file with exact sums, or in torch); seconds: of
    processor time; kl in nats; ms: latency. What a result has not is None; a result with an `error` has nothing else.
    """

    network: str
    tool: str
    settings: str
    source: str
    bits: str
    images: int
    words: str = ""
    seconds: float | None = None
    judged: str | None = None
    judging: int | None = None
    sure: int | None = None
    agreement: float | None = None
    sure_agreement: float | None = None
    kl: float | None = None
    top1: float | None = None
    float_top1: float | None = None
    ms: float | None = None
    float_ms: float | None = None
    integer_layers: int | None = None
    layers: int | None = None
    bytes: int | None = None
    float_bytes: int | None = None
    error: str | None = None
    measure: str | None = None
    value: float | None = None
    float_value: float | None = None
    codes: int | None = None
    differing: int | None = None
    own: int | None = None
    reasons: str | None = None

    @property
    def lacks_codes(self) -> bool:
        """Is it of a file of 8 bits that `verify-file` has not read?"""
        return self.ms is not None and self.bits == "W8A8" and self.reasons is None

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What makes a result the same measurement."""
        return self.network, self.tool, self.settings, self.source, self.bits

    def summary(self) -> str:
        """One line for the log."""
        if self.error is not None:
            return f"{self.network} {self.tool} {self.bits} on {self.source}: {self.error}"
        if self.value is not None:
            return (
                f"{self.network} {self.tool} ({self.words}) {self.bits} on {self.source}: {100 * self.value:.2f} %"
                f" {self.measure}, {self.seconds:.0f} s, {self.differing} of {self.codes} codes differ"
            )
        top1 = f"top-1 {100 * (self.top1 or 0):.2f} %, " if self.top1 is not None else ""
        return (
            f"{self.network} {self.tool} ({self.words}) {self.bits} on {self.source}: {top1}"
            f"agreement {100 * (self.agreement or 0):.1f} %, KL {self.kl:.4f}, {self.seconds:.0f} s"
        )


def latest(results: Sequence[Result]) -> list[Result]:
    """The last of each key, in the order of the first."""
    return list({result.key: result for result in results}.values())


def tables(results: Sequence[Result]) -> str:
    """For each network what it answers, and what it costs; then what did not work."""
    lines = []
    ordered = sorted(results, key=lambda r: (r.tool != "genq-export", r.tool, r.settings, r.source, BITS.index(r.bits)))
    for network in sorted({result.network for result in results}):
        mine = [result for result in ordered if result.network == network]
        good = [result for result in mine if result.error is None]
        if good:
            lines += [*_answers(network, good), "", *_costs(good), ""]
        failed = [f"* {r.tool} {r.bits}, {r.source} images: `{r.error}`" for r in mine if r.error is not None]
        lines += [*failed, ""] if failed else []
    return "\n".join(lines)


def _answers(network: str, results: Sequence[Result]) -> list[str]:
    first = results[0]
    if first.measure is not None:
        best = f" (float {100 * first.float_value:.2f} %)" if first.float_value is not None else ""
        lines = [f"**{network}**, {first.measure}{best}, in percent:"]
    elif first.top1 is not None:
        lines = [
            f"**{network}**, top-1 on {first.judging:,} test images (float {100 * (first.float_top1 or 0):.2f} %) /"
            " agreement with the float network / KL in nats:"
        ]
    else:
        lines = [
            f"**{network}**, agreement with the float network on {first.judging} crops of photographs / on the"
            f" {first.sure} of them where its top probability is at least 0.3 / KL in nats:"
        ]
    lines += ["", "| tool | images | needs data | " + " | ".join(BITS) + " |", "|---" * (3 + len(BITS)) + "|"]
    for tool, settings, source in dict.fromkeys((r.tool, r.settings, r.source) for r in results):
        row = [r for r in results if (r.tool, r.settings, r.source) == (tool, settings, source)]
        cells = [next((_answer(r) for r in row if r.bits == bits), "–") for bits in BITS]
        words = "; ".join(dict.fromkeys(r.words for r in row))
        needs = "yes" if source == "real" or (source == "synthetic" and tool != "genq-export") else "no"
        images = f"{row[0].images} {source}" if row[0].images else source
        lines.append(f"| {tool}: {words} | {images} | {needs} | " + " | ".join(cells) + " |")
    return lines


def _answer(result: Result) -> str:
    mark = MARKS.get(result.judged or "", "")
    if result.value is not None:
        return f"{100 * result.value:.2f}{mark}"
    if result.top1 is not None:
        return f"{100 * result.top1:.2f} / {100 * (result.agreement or 0):.2f} / {result.kl:.4f}{mark}"
    return f"{100 * (result.agreement or 0):.1f} / {100 * (result.sure_agreement or 0):.1f} / {result.kl:.3f}{mark}"


def _costs(results: Sequence[Result]) -> list[str]:
    lines = ["| tool | bits | images | build s | latency ms | against float | integer layers | MB |", "|---" * 8 + "|"]
    for r in results:
        latency, ratio = ("–", "–") if not r.ms or not r.float_ms else (f"{r.ms:.2f}", f"{r.float_ms / r.ms:.2f}×")
        integer = "–" if r.layers is None else f"{r.integer_layers} of {r.layers}"
        size = "–" if r.bytes is None else f"{r.bytes / 1e6:.3f}"
        cells = (f"{r.tool}: {r.words}", r.bits, r.source, f"{r.seconds:.0f}", latency, ratio, integer, size)
        lines.append("| " + " | ".join(cells) + " |")
    return lines
