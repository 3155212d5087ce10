"""What of `benchmarks/edge/devices.py` needs no device: cells, the table, and which builds are refused."""

from pathlib import Path

import pytest

from benchmarks.edge.devices import golden_of
from benchmarks.edge.devices_table import Result, table

SAME = {"images": 8, "same_answers": 8, "quantizers": 3, "outputs_equal": True, "outputs_largest_gap": 0.0}


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ({"quantizers_unlike": 0, "codes_equal": 1.0}, "equal"),
        (
            {"quantizers_unlike": 0, "codes_equal": 1.0, "outputs_equal": False, "outputs_largest_gap": 2e-7},
            "codes equal, outputs within 2e-07, 8 of 8 answers",
        ),
        ({"quantizers_unlike": 1, "codes_equal": 1.0, "outputs_equal": False}, "99.999 % of codes, 8 of 8 answers"),
        ({"quantizers_unlike": 1, "codes_equal": 0.99949}, "99.949 % of codes, 8 of 8 answers"),
        ({"error": "no"}, "refused"),
    ],
)
def test_a_cell_says_what_is_not_equal(found: dict[str, object], cell: str) -> None:
    assert Result("d", "n", "0", **(SAME | found)).cell() == cell  # type: ignore[arg-type]


def test_builds_of_one_network_have_rows_of_their_own() -> None:
    equal = {**SAME, "quantizers_unlike": 0, "codes_equal": 1.0}
    found = [
        Result("d", "n W4A4", "0", **equal),
        Result("d", "n W4A4", "1", error="no"),
        Result("e", "n W4A4", "0", **equal),
    ]  # type: ignore[arg-type]
    assert table(found).splitlines() == [
        "| network | images | d | e |", "|---|---|---|---|", "| n W4A4 | 8 | equal | equal |",
        "| n W4A4 | – | refused | – |", "", "* d, n W4A4: `no`",
    ]  # fmt: skip


def test_a_build_without_a_check_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no folder check: give builds made with"):
        golden_of(tmp_path)
