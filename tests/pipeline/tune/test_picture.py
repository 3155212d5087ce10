"""The picture and the page: every build is there, and nothing that a name holds is markup."""

import xml.etree.ElementTree as ElementTree

import pytest

from genq_export.pipeline.tune.choice import Conditions
from genq_export.pipeline.tune.outcome import Minimize
from genq_export.pipeline.tune.picture import picture
from tests.pipeline.tune.outcomes import outcome

BUILDS = [outcome("w8a8", 0.0, 0.6, 0.26), outcome("w4a8", 0.2, 0.6, 0.15), outcome("<b>", 3.0, 0.9, 0.14)]


@pytest.mark.parametrize("minimize", ["latency", "size"])
def test_every_build_is_a_dot_within_the_picture(minimize: Minimize) -> None:
    root = ElementTree.fromstring(picture(BUILDS, Conditions(minimize=minimize), "w4a8"))
    dots = [node for node in root.iter("{http://www.w3.org/2000/svg}circle")]
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert {"w8a8", "w4a8", "<b>"} <= set(titles)
    assert len([dot for dot in dots if dot.get("class") == "winner"]) == 1 and len(dots) == 4
    assert all(0 <= float(dot.get("cx", "-1")) <= 720 and 0 <= float(dot.get("cy", "-1")) <= 420 for dot in dots)


def test_one_build_without_a_time_and_in_decibels_is_a_picture_too() -> None:
    alone = [outcome("w8a8", -40.0, None, 0.26, "dB")]
    ElementTree.fromstring(picture(alone, Conditions(), None))
