"""The network as a picture: a box for every quantized tensor, in the order of the computation, coloured by its noise.

Boxes stand in columns by the longest way from the input, branches below each other; a column that would not fit begins
a new line. A picture of 200 layers is five such lines. Colours are classes of the page's style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

COLUMNS = 24
_BOX, _HIGH, _GAP, _LANE, _LINE = 26, 20.8, 10, 28, 22
_STEPS = (10.0, 15.0, 20.0, 30.0)  # dB, between the tones


@dataclass(frozen=True)
class Step:
    """One box.

    reads: names of the boxes it is computed from. label: in the box. sqnr_db: decides the colour; None: no noise, or
    not known. in_float: a layer in front of it computes in float. hover: what a pointer is told.
    """

    name: str
    reads: tuple[str, ...]
    label: str
    sqnr_db: float | None
    in_float: bool
    hover: str


@dataclass(frozen=True)
class Place:
    """Where a box stands: which line of columns, column in it, and which lane below the first."""

    line: int
    column: int
    lane: int


def picture(steps: Sequence[Step]) -> Markup:
    """The boxes and what leads from one to another, as one `<svg>`; empty without boxes."""
    if not steps:
        return Markup("")
    places = arranged(steps)
    tops, height = _lines(places)
    spots = {
        name: (float(place.column * (_BOX + _GAP)), tops[place.line] + place.lane * _LANE)
        for name, place in places.items()
    }
    width = (max(place.column for place in places.values()) + 1) * (_BOX + _GAP)
    edges = [_edge(source, step.name, places, spots) for step in steps for source in step.reads if source in spots]
    boxes = [_box(step, *spots[step.name]) for step in steps]
    frame = f'viewBox="-4 -4 {width + 8} {height + 8}" style="max-width:{width * 1.6:.0f}px"'
    return Markup(
        f'<svg class="network" role="img" {frame}>'
        f"<title>The network, {len(steps)} quantized tensors</title>{''.join(edges)}{''.join(boxes)}</svg>"
    )


def tone(sqnr_db: float | None) -> int:
    """0 for the noisiest to 4 for what is clean; between them steps of about one bit."""
    return len(_STEPS) if sqnr_db is None else sum(sqnr_db >= step for step in _STEPS)


def arranged(steps: Sequence[Step]) -> dict[str, Place]:
    """A place for every box: behind all that it reads, and no two at one place. Steps come in order."""
    depths: dict[str, int] = {}
    taken: dict[int, int] = {}
    places = {}
    for step in steps:
        depth = max((depths[source] + 1 for source in step.reads if source in depths), default=0)
        depths[step.name] = depth
        lane = taken.get(depth, 0)
        taken[depth] = lane + 1
        places[step.name] = Place(depth // COLUMNS, depth % COLUMNS, lane)
    return places


def _lines(places: dict[str, Place]) -> tuple[list[float], float]:
    """Where each line of columns begins, and the height of all."""
    tops, height = [], 0.0
    for line in range(max(place.line for place in places.values()) + 1):
        tops.append(height)
        lanes = max((place.lane for place in places.values() if place.line == line), default=0) + 1
        height += lanes * _LANE + _LINE
    return tops, height - _LINE


def _edge(source: str, target: str, places: dict[str, Place], spots: dict[str, tuple[float, float]]) -> str:
    """A line to the next box; a bow below what lies between; a stub out of one line and into another."""
    (x1, y1), (x2, y2) = spots[source], spots[target]
    middle = _HIGH / 2
    if places[source].line != places[target].line:
        out, into = x1 + _BOX, x2
        return f'<path d="M{out} {y1 + middle:.1f}h{_GAP / 2}M{into} {y2 + middle:.1f}h-{_GAP / 2}"/>'
    if places[target].column - places[source].column <= 1:
        return f'<path d="M{x1 + _BOX} {y1 + middle:.1f}L{x2} {y2 + middle:.1f}"/>'
    start, end, low = x1 + _BOX / 2, x2 + _BOX / 2, max(y1, y2) + _HIGH + 6
    down, up = f"Q{start} {low:.1f} {x1 + _BOX} {low:.1f}", f"Q{end} {low:.1f} {end} {y2 + _HIGH:.1f}"
    return f'<path class="skip" d="M{start} {y1 + _HIGH:.1f}{down}H{x2}{up}"/>'


def _box(step: Step, x: float, y: float) -> str:
    kind = f"n{tone(step.sqnr_db)}" + (" floats" if step.in_float else "")
    shape = f'<rect x="{x}" y="{y}" width="{_BOX}" height="{_HIGH:.1f}" rx="3"/>'
    label = f'<text x="{x + _BOX / 2}" y="{y + _HIGH * 0.7:.1f}">{escape(step.label)}</text>'
    return f'<g class="{kind}"><title>{escape(step.hover)}</title>{shape}{label}</g>'
