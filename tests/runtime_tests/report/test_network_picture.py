"""The picture of the network: every tensor has a place of its own, behind what it is computed from."""

import re

from hypothesis import given
from hypothesis import strategies as st

from runtime_tests.report.render.network_picture import COLUMNS, Place, Step, arranged, picture, tone


@st.composite
def networks(draw: st.DrawFn) -> list[Step]:
    """Up to 60 boxes, each computed from up to three before it."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 60))):
        before = [step.name for step in steps]
        reads = draw(st.lists(st.sampled_from(before), max_size=3, unique=True)) if before else []
        noise = draw(st.none() | st.floats(-5, 60))
        steps.append(Step(f"t{number}", tuple(reads), "4", noise, draw(st.booleans()), f"t{number}: <4> bits"))
    return steps


def order(place: Place) -> int:
    return place.line * COLUMNS + place.column


@given(networks())
def test_no_two_boxes_meet_and_each_is_behind_what_it_reads(steps: list[Step]) -> None:
    places = arranged(steps)
    assert len(set(places.values())) == len(steps)
    for step in steps:
        assert all(order(places[source]) < order(places[step.name]) for source in step.reads)
        assert 0 <= places[step.name].column < COLUMNS


@given(networks())
def test_every_box_and_every_edge_is_drawn_and_names_are_text(steps: list[Step]) -> None:
    drawn = str(picture(steps))
    assert drawn.count("<rect") == len(steps) and drawn.count("<path") == sum(len(step.reads) for step in steps)
    assert drawn.count(" floats") == sum(step.in_float for step in steps)
    assert "<4>" not in drawn and "&lt;4&gt;" in drawn
    _, _, width, height = map(float, re.findall(r'viewBox="([^"]+)"', drawn)[0].split())
    for x, y in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', drawn):
        assert float(x) < width and float(y) < height


def test_a_network_of_two_hundred_layers_is_a_few_lines_and_small() -> None:
    chain = [Step(f"t{n}", (f"t{n - 1}",) if n else (), "8", 20.0, False, f"t{n}") for n in range(200)]
    assert max(place.line for place in arranged(chain).values()) == 8
    assert len(picture(chain)) < 60_000 and not picture([])


def test_more_noise_is_another_tone() -> None:
    assert [tone(noise) for noise in (5.0, 12.0, 17.0, 25.0, 40.0, None)] == [0, 1, 2, 3, 4, 4]
