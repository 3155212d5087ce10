"""Figures as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.build import BuildConfig
from genq_export.config.verify import GatesConfig
from runtime_tests.report.model import Bits
from runtime_tests.report.render import formatting
from runtime_tests.verify import gates
from tests.runtime_tests.measured import grids, report, run


def test_the_title_names_the_grids_as_the_folder_does() -> None:
    mixed = BuildConfig.for_model("net", average_bits=5).quantize
    bits = Bits(weights=4, activations=4, first_last=8, grid=mixed.grid_name)
    assert formatting.title(report(run(), bits=bits)) == "net, mixed-5bits, ONNX Runtime"
    assert formatting.title(report(run())) == "net, W4A4, ONNX Runtime", "a report that was written without"


@given(st.floats(0, 1, allow_nan=False))
def test_percent_never_rounds_up_to_all(share: float) -> None:
    shown = formatting.percent(share)
    assert (shown == "100.00 %") == (share == 1)


@pytest.mark.parametrize(
    ("count", "shown"), [(12, "12 bytes"), (1500, "1.50 kB"), (25_700_000, "25.7 MB"), (10**10, "10.0 GB")]
)
def test_byte_sizes(count: int, shown: str) -> None:
    assert formatting.byte_size(count) == shown


def test_signed_numbers_use_a_true_minus() -> None:
    assert formatting.signed(-1.25, 2) == "\N{MINUS SIGN}1.25"
    assert formatting.signed(-0.0001, 2) == "0.00"
    assert math.isclose(float(formatting.signed(2, 1)), 2.0)


def test_figures_far_from_all_have_two_digits() -> None:
    judged, _ = gates.check(run(), (), GatesConfig(), grids(4))
    gate = judged[0].model_copy(update={"name": "code_match"})
    shown = [formatting.gate_value(gate, value) for value in (0.75233595, 0.9999, 0.999999, 0.99999942)]
    assert shown == ["75.23 %", "99.99 %", "99.9999 %", "99.999942 %"]
