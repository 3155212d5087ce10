"""The table at the top of docs/peers.md: a row a tool, the best that each was measured with."""

from collections.abc import Callable, Sequence
from pathlib import Path

from peer_tables import MARKS, Result

HERE = Path(__file__).resolve().parent
# Each tool's package, and the requirements that pin it.
PINNED = {
    "ONNX Runtime": ("onnxruntime", "requirements.txt"),
    "NNCF": ("nncf", "requirements.txt"),
    "brevitas": ("brevitas", "requirements.txt"),
    "MCT": ("model-compression-toolkit", "requirements.txt"),
    "Model Optimizer": ("nvidia-modelopt", "requirements-modelopt.txt"),
    "AIMET": ("aimet-onnx", "requirements-aimet.txt"),
    "Quark": ("amd-quark", "requirements-quark.txt"),
}
OURS = "genq-export"
# Tools with bits that a table can lack because nobody measured them; the others have none for convolutions.
BELOW = {OURS: ("W4A8", "W4A4"), "brevitas": ("W4A8", "W4A4"), "AIMET": ("W4A8", "W4A4"), "MCT": ("W4A8",)}
COLUMNS = (
    "tool", "needs data", "W8A8", "W4A8", "W4A4", "latency", "integer layers", "MB", "build s", "codes equal",
    "differ by themselves",
)  # fmt: skip


def glance(results: Sequence[Result]) -> str:
    """For each network, of each tool its best result at 8 bits and what that costs; its best below."""
    parts = []
    for network in dict.fromkeys(result.network for result in results):
        mine = [result for result in results if result.network == network]
        if not any(result.reasons for result in mine):
            continue  # no file of it was read by verify-file
        first = next(result for result in mine if result.error is None)
        parts += [f"**{network}**, {_measure(first)}:", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        parts += [_row(tool, [result for result in mine if result.tool == tool]) for tool in (OURS, *PINNED)]
        parts = [part for part in parts if part is not None] + [""]
    return "\n".join(parts)


def _measure(result: Result) -> str:
    if result.measure is not None:
        best = "" if result.float_value is None else f", percent (float {100 * result.float_value:.2f})"
        return f"{result.measure}{best}"
    if result.top1 is not None:
        return f"top-1 on {result.judging:,} test images, percent (float {100 * (result.float_top1 or 0):.2f})"
    return f"agreement with float on {result.judging} crops of photographs / KL in nats"


def _row(tool: str, results: Sequence[Result]) -> str | None:
    """Ours without data; the others with whatever images served them best."""
    allowed = [result for result in results if tool != OURS or result.source != "real"]
    if not allowed:
        return None
    good = [result for result in allowed if result.error is None]
    best = {bits: _best([one for one in good if one.bits == bits]) for bits in ("W8A8", "W4A8", "W4A4")}
    shown = best["W8A8"]
    cells = [_named(tool, shown), "no" if tool in (OURS, "MCT") else "yes"]
    lacking = {bits: "not measured" if bits in ("W8A8", *BELOW.get(tool, ())) else "–" for bits in best}
    cells += [_answer(one, [r for r in allowed if r.bits == bits], lacking[bits]) for bits, one in best.items()]
    costs: tuple[Callable[[Result], str | None], ...] = (_latency, _layers, _size, _seconds, _equal, _own)
    cells += [(shown and cost(shown)) or "–" for cost in costs]
    return f"| {' | '.join(cells)} |"


def _best(results: Sequence[Result]) -> Result | None:
    """By the figure against labels, else by divergence; of those whose file `verify-file` read, where there are any."""
    read = [one for one in results if one.codes is not None]
    return max(read or results, key=lambda one: (one.value or one.top1 or 0, -(one.kl or 0)), default=None)


def _named(tool: str, result: Result | None) -> str:
    version = "" if tool == OURS else f" {_version(tool)}"
    return f"{tool}{version}" + (f": {result.words}; {_images(result)}" if result else "")


def _images(result: Result) -> str:
    return f"{result.images} {result.source} images" if result.images else "its own images"


def _version(tool: str) -> str:
    package, file = PINNED[tool]
    lines = (HERE / "peer_tools" / file).read_text().splitlines()
    return next(line.removeprefix(f"{package}==") for line in lines if line.startswith(f"{package}=="))


def _answer(result: Result | None, tried: Sequence[Result], lacking: str) -> str:
    if result is None:
        errors = [one.error for one in tried if one.error]
        return f"`{errors[-1]}`" if errors else lacking
    mark = MARKS.get(result.judged or "", "")
    if result.value is not None:
        return f"{100 * result.value:.2f}{mark}"
    if result.top1 is not None:
        return f"{100 * result.top1:.2f}{mark}"
    return f"{100 * (result.agreement or 0):.1f} / {result.kl:.3f}{mark}"


def _latency(result: Result) -> str | None:
    return f"{result.float_ms / result.ms:.2f}×" if result.ms and result.float_ms else None


def _layers(result: Result) -> str | None:
    return None if result.layers is None else f"{result.integer_layers} of {result.layers}"


def _size(result: Result) -> str | None:
    return None if result.bytes is None else f"{result.bytes / 1e6:.3f}"


def _seconds(result: Result) -> str | None:
    return None if result.seconds is None else f"{result.seconds:.0f}"


def _equal(result: Result) -> str | None:
    if result.codes is None:
        return None
    share = 100 * (1 - (result.differing or 0) / result.codes)
    return "100 %" if not result.differing else f"{min(share, 99.9999):.4f} %"


def _own(result: Result) -> str | None:
    if result.codes is None:
        return result.reasons
    return f"{result.own:,} of {result.codes:,}" + (f": {result.reasons}" if result.own else "")
