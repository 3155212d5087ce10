"""The Pareto picture: loss against time (or size) of all builds, as SVG that stands alone."""

from collections.abc import Sequence
from html import escape

from genq_export.pipeline.tune.choice import Conditions, front
from genq_export.pipeline.tune.outcome import Minimize, Outcome

WIDTH, HEIGHT, EDGE = 720, 420, 60
_UNITS = {"points": "points of top-1 lost", "nats": "KL divergence, nats", "dB": "noise against signal, dB"}
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.axis{stroke:#888}.front{fill:none;stroke:#2b6cb0;stroke-width:2}"
    ".limit{stroke:#c53030;stroke-dasharray:6 4}.tried{fill:#a0aec0}.on{fill:#2b6cb0}"
    ".winner{fill:none;stroke:#2f855a;stroke-width:3}.float{fill:#222}"
)


class _Axis:
    """Numbers to places of the picture, with some room at both ends."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        low, high = min(values), max(values)
        room = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
        self.low, self.high = low - room, high + room
        self._first, self._last = first, last

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self._first + share * (self._last - self._first), 1)

    def ticks(self, count: int = 5) -> list[float]:
        return [self.low + (self.high - self.low) * number / (count - 1) for number in range(count)]


def picture(outcomes: Sequence[Outcome], conditions: Conditions, winner: str | None) -> str:
    """One `<svg>`: every build a dot, the front a line, the limit dashed, a ring around the winner, float a square."""
    axis = axis_of(outcomes, conditions)
    limit = conditions.limit(outcomes[0].unit)
    shares = [outcome.cost(axis) for outcome in outcomes]
    losses = [outcome.loss for outcome in outcomes]
    shown = [0.0] if outcomes[0].unit != "dB" else []
    x = _Axis([*shares, 1.0], EDGE, WIDTH - EDGE)
    y = _Axis([*losses, limit, *shown], HEIGHT - EDGE, EDGE / 2)
    line = front(outcomes, axis)
    best = {outcome.name for outcome in line}
    shapes = [
        *_axes(x, y, axis, _UNITS[outcomes[0].unit]),
        f'<line class="limit" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y.at(limit)}" y2="{y.at(limit)}"/>',
        f'<text x="{WIDTH - EDGE}" y="{y.at(limit) - 5}" text-anchor="end">at most {limit:g}</text>',
        '<polyline class="front" points="'
        + " ".join(f"{x.at(part.cost(axis))},{y.at(part.loss)}" for part in line)
        + '"/>',
    ]
    for outcome in outcomes:
        place = x.at(outcome.cost(axis)), y.at(outcome.loss)
        shapes += _dot(place, outcome.name, outcome.name in best, outcome.name == winner)
    if shown:
        shapes += [f'<rect class="float" x="{x.at(1.0) - 5}" y="{y.at(0.0) - 5}" width="10" height="10"/>']
        shapes += [f'<text x="{x.at(1.0) - 8}" y="{y.at(0.0) - 9}" text-anchor="end">float</text>']
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>Builds by loss and {'size' if axis == 'size' else 'time'}</title><style>{_STYLE}</style>"
        + "".join(shapes)
        + "</svg>\n"
    )


def axis_of(outcomes: Sequence[Outcome], conditions: Conditions) -> Minimize:
    """What stands against the loss: time, or size where that is asked for or no time could be taken."""
    untimed = any(outcome.time_share is None for outcome in outcomes)
    return "size" if conditions.minimize == "size" or untimed else "latency"


def _axes(x: _Axis, y: _Axis, axis: Minimize, loss: str) -> list[str]:
    what = "size" if axis == "size" else "time of an answer"
    shapes = [
        f'<line class="axis" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{HEIGHT - EDGE}" y2="{HEIGHT - EDGE}"/>',
        f'<line class="axis" x1="{EDGE}" x2="{EDGE}" y1="{EDGE / 2}" y2="{HEIGHT - EDGE}"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{what}, share of float</text>',
        f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">{loss}</text>',
    ]
    for value in x.ticks():
        shapes.append(f'<text x="{x.at(value)}" y="{HEIGHT - EDGE + 18}" text-anchor="middle">{value:.2f}</text>')
    for value in y.ticks():
        shapes.append(f'<text x="{EDGE - 6}" y="{y.at(value) + 4}" text-anchor="end">{value:.2f}</text>')
    return shapes


def _dot(place: tuple[float, float], name: str, on_front: bool, wins: bool) -> list[str]:
    x, y = place
    tone = "on" if on_front else "tried"
    shapes = [f'<circle class="{tone}" cx="{x}" cy="{y}" r="5"><title>{escape(name)}</title></circle>']
    if wins:
        shapes.append(f'<circle class="winner" cx="{x}" cy="{y}" r="10"/>')
    if on_front or wins:
        shapes.append(f'<text x="{x + 12}" y="{y - 6}">{escape(name)}</text>')
    return shapes
