"""Figures as people read them, the same on the terminal, in Markdown and on the page."""

import math

from genq_export.targets import title_of
from runtime_tests.report.model import Report
from runtime_tests.verify.gate import Gate

TIMES, MINUS, DASH = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
_NEARLY_ALL = 0.999


def percent(share: float | None, digits: int = 2) -> str:
    """0.9271 -> "92.71 %", never rounding up to 100 what is not 100."""
    if share is None:
        return "not measured"
    shown = f"{100 * share:.{digits}f}"
    if share < 1 and float(shown) == 100:
        return f"> {100 - 10**-digits:.{digits}f} %"
    return f"{shown} %"


def milliseconds(value: float) -> str:
    """Three significant digits: 0.312 ms, 4.21 ms, 81.8 ms."""
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def byte_size(count: int) -> str:
    """1234567 -> "1.23 MB" (decimal, as disks and downloads count)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}" if count < 10 * size else f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def signed(value: float, digits: int) -> str:
    """`+1.25`, `−0.40` with a true minus; zero without a sign."""
    shown = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(shown) == 0 else shown.replace("-", MINUS)


def chance(p: float) -> str:
    """A p-value with its sign: `= 0.032`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def plural(count: int, noun: str) -> str:
    """`1 thread`, `2 threads`"""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def title(report: Report) -> str:
    """`fashion_resnet, W4A4, ONNX Runtime`"""
    target = title_of(report.target)
    return f"{report.model}, {report.bits.name}, {target}"


def gate_value(gate: Gate, value: float | None) -> str:
    """A gate's figure in its own unit."""
    if value is None:
        return "not measured"
    if gate.name == "accuracy_loss":
        return f"{value:.2f} points".replace("-", MINUS)
    if gate.name in ("constants", "runtimes", "weights", "ranges", "answers", "layer_codes"):
        return f"{value:.0f}"
    if gate.name in ("float_sqnr", "added_noise", "graph", "outputs"):
        return f"{value:.1f} dB".replace("-", MINUS)
    if gate.name == "speedup":
        return f"{value:.2f}{TIMES}"
    # Two digits are enough for most; a code match of 99.9999 % needs more.
    digits = next((digits for digits in (2, 4) if math.isclose(round(100 * value, digits), 100 * value)), 6)
    digits = digits if value > _NEARLY_ALL else 2
    return percent(value, digits if gate.name == "code_match" else 2)
