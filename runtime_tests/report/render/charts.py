"""Small charts: the shapes are SVG that stretches with the page, the words around them are text of the page.

Every function returns one `<svg>` whose box is 100 × 100 units, stretched in both directions; lines keep their width.
Colours are classes of the page's style sheet, so that light, dark and print each have their own. Made by hand: a
plotting library draws one size and one palette, and its SVG weighs more than the rest of the page.
"""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

_OPEN = '<svg class="chart {kind}" viewBox="0 0 100 100" preserveAspectRatio="none" role="img"><title>{hover}</title>'


def bar(share: float, tone: str, hover: str) -> Markup:
    """A horizontal bar filled to `share` in [0, 1]."""
    width = _units(share)
    return _svg("bar", hover, f'<rect class="{tone}" x="0" y="0" width="{width}" height="100"/>')


def signed_bar(share: float, hover: str) -> Markup:
    """A bar from the middle to the right (gain) or the left (loss); share in [-1, 1] of half the width."""
    width = _units(abs(share) / 2)
    start = 50.0 if share >= 0 else round(50 - width, 2)
    tone = "gain" if share >= 0 else "loss"
    middle = '<line class="axis" x1="50" x2="50" y1="0" y2="100"/>'
    return _svg("bar", hover, f'<rect class="{tone}" x="{start}" y="15" width="{width}" height="70"/>{middle}')


def interval(low: float, value: float, high: float, first: float, last: float, tone: str, hover: str) -> Markup:
    """A dot with its interval on an axis from `first` to `last`."""
    span = max(last - first, 1e-12)
    a, x, b = (_units((point - first) / span) for point in (low, value, high))
    # A line of no length with round caps is a dot that does not stretch with the box.
    return _svg(
        "interval",
        hover,
        f'<line class="whisker {tone}" x1="{a}" x2="{b}" y1="50" y2="50"/>'
        f'<line class="dot {tone}" x1="{x}" x2="{x}" y1="50" y2="50"/>',
    )


def stacked_columns(lower: Sequence[float], upper: Sequence[float], hovers: Sequence[str], hover: str) -> Markup:
    """Upright columns of a histogram, `upper` on top of `lower`, each column with its own hover text."""
    top = max((a + b for a, b in zip(lower, upper, strict=True)), default=0) or 1
    width = 100 / max(len(lower), 1)
    shapes = []
    for number, (a, b, text) in enumerate(zip(lower, upper, hovers, strict=True)):
        low, high = _units(a / top), _units((a + b) / top)
        place = f'x="{number * width:.3f}" width="{width * 0.88:.3f}"'
        shapes.append(
            f"<g><title>{escape(text)}</title>"
            f'<rect class="kept" {place} y="{100 - low:.2f}" height="{low}"/>'
            f'<rect class="dropped" {place} y="{100 - high:.2f}" height="{high - low:.2f}"/></g>'
        )
    return _svg("columns", hover, "".join(shapes))


def _svg(kind: str, hover: str, shapes: str) -> Markup:
    return Markup(_OPEN.format(kind=kind, hover=escape(hover)) + shapes + "</svg>")


def _units(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 2)
