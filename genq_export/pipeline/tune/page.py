"""`tune.html`: the picture, the conditions and every build with a link to its report."""

from collections.abc import Mapping
from html import escape
from typing import Any

_HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>'
    "body{{font:16px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}"
    "table{{border-collapse:collapse}}td,th{{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd}}"
    "td:first-child,th:first-child{{text-align:left}}tr.winner{{font-weight:bold}}</style>"
)


def page(tuned: Mapping[str, Any], picture: str) -> str:
    """One HTML page without scripts or references to elsewhere. tuned: `Tuned` as values."""
    title = f"{tuned['model']} for {tuned['target']}, tuned"
    rows = "".join(_row(outcome, outcome["name"] == tuned["winner"]) for outcome in tuned["outcomes"])
    refused = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in tuned["refused"].items())
    shipped = (
        '<a href="float.onnx">float.onnx</a>'
        if tuned["winner"] is None
        else '<a href="winner/report.html">its report</a>'
    )
    return (
        _HEAD.format(title=escape(title))
        + f"<h1>{escape(title)}</h1><p>{escape(tuned['reason'])}</p><p>Shipped: {shipped}</p>{picture}"
        + "<table><tr><th>build</th><th>loss</th><th>time, share of float</th><th>ms</th><th>bytes</th>"
        + f"<th>built in, s</th></tr>{rows}</table>"
        + (f"<h2>Could not be built</h2><ul>{refused}</ul>" if refused else "")
        + "</html>\n"
    )


def _row(outcome: Mapping[str, Any], wins: bool) -> str:
    time_share, milliseconds = outcome["time_share"], outcome["deployed_ms"]
    cells = [
        f'<a href="candidates/{escape(outcome["name"])}/report.html">{escape(outcome["name"])}</a>',
        f"{outcome['loss']:.4g} {outcome['unit']}",
        "not measured" if time_share is None else f"{time_share:.3f} ± {outcome['noise']:.3f}",
        "–" if milliseconds is None else f"{milliseconds:.3f}",
        f"{outcome['deployed_bytes']:,}",
        f"{outcome['seconds']:.0f}",
    ]
    return f"<tr{' class=winner' if wins else ''}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
