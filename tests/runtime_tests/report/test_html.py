"""The page."""

from html.parser import HTMLParser
from pathlib import Path

from runtime_tests.report.model import LayerCost, Storage
from runtime_tests.report.render import html
from runtime_tests.report.render.first_screen import first_screen
from tests.runtime_tests.measured import COST, SLOW, report, run


def test_a_ranking_of_layers_is_drawn_and_tabled(tmp_path: Path) -> None:
    costs = tuple(LayerCost(name=f"layer{n}", weight_bits=4, activation_bits=None, kl=0.1 / n) for n in range(1, 41))
    measured = report(run(), sensitivity=costs)
    page = html.render_html(measured, tmp_path)
    assert page.index("What each layer costs by itself") > page.index("Which layers are weak?")
    assert "1. layer1: 0.1 nats of KL, 23 % of the sum over all layers" in page
    assert "The 10 cheapest are left out" in page and '<td class="name">layer40</td>' in page
    assert "What each layer costs" not in html.render_html(report(run()), tmp_path)


def test_a_speed_up_within_the_noise_is_none(tmp_path: Path) -> None:
    page = html.render_html(report(run(latency=SLOW), latency=SLOW), tmp_path)
    assert "no difference beyond the noise of 10.0 %" in page and "1.02×" not in page


def test_grid_storage_and_compute_are_told_apart(tmp_path: Path) -> None:
    containers = {"grid": "W4A4", "weights": "int4", "activations": "uint8", "compute": "int8 products, int32 sums"}
    storage = Storage.model_validate({"storage": containers, "opset": 21, "ir_version": 10})
    page = html.render_html(report(run(), storage=storage), tmp_path)
    assert "<td>4 bits, per channel</td><td>INT4</td><td>INT8</td>" in page
    assert "<td>4 bits, per tensor</td><td>UINT8</td><td>UINT8</td>" in page and "opset 21, IR version 10" in page


def test_names_from_outside_are_text_on_the_page(tmp_path: Path) -> None:
    page = html.render_html(report(run(), model="<script>alert(1)</script>"), tmp_path)
    assert "<script" not in page and "&lt;script&gt;" in page


def test_the_page_is_well_formed(tmp_path: Path) -> None:
    """Every element that is opened is closed again, in order."""
    costs = (LayerCost(name="a", weight_bits=4, activation_bits=4, kl=0.1),)
    failed = report(run(latency=SLOW, cost=COST), latency=SLOW, sensitivity=costs, passed=False)
    nesting = Nesting()
    nesting.feed(html.render_html(failed, tmp_path))
    nesting.close()
    assert nesting.open == [] and nesting.wrong == []


def test_the_first_screen_stands_on_other_pages(tmp_path: Path) -> None:
    nesting = Nesting()
    part = first_screen(report(run(latency=SLOW), latency=SLOW, model="<b>", heading="Reported by"), tmp_path)
    nesting.feed(part)
    nesting.close()
    assert nesting.open == [] and nesting.wrong == []
    assert "&lt;b&gt;" in part and "Reported by." in part and "<style" not in part and "Failed" not in part


class Nesting(HTMLParser):
    """Which elements are open, and which end tags fit none."""

    void = frozenset({"meta", "img", "br", "rect", "line", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag not in self.void:
            self.wrong.append(f"{tag} in {'/'.join(self.open)}")
