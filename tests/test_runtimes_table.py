"""What of `benchmarks/edge/runtimes.py` needs no runtime: cells, the table, and how a reason is read."""

import subprocess

import pytest

from benchmarks.edge.environments import reason_of
from benchmarks.edge.runtimes import CONTENDERS
from benchmarks.edge.runtimes_table import Result, table


@pytest.mark.parametrize(
    ("result", "cell"),
    [
        (Result("r", "f", "1", equal=8, gap=0.0, same=8, images=8, integer=3, layers=3), "equal; 3/3"),
        (Result("r", "f", "1", equal=8, gap=0.0, same=8, images=8), "equal"),
        (Result("r", "f", "1", equal=7, gap=0.25, same=8, images=8), "7 of 8, 0.25"),
        (Result("r", "f", "1", equal=0, gap=9.0, same=4, images=8, integer=0, layers=3), "0 of 8, 9, **50.0 %**; 0/3"),
        (Result("r", "f", error="no"), "refused"),
    ],
)
def test_a_cell_says_logits_answers_and_kernels(result: Result, cell: str) -> None:
    assert result.cell() == cell


def test_refusals_of_one_reason_stand_together() -> None:
    found = [Result("r", "a", error="no"), Result("r", "b", error="no"), Result("s", "a", "1", 8, 0.0, 8, 8)]
    assert table(found).splitlines() == [
        "| runtime | a | b |", "|---|---|---|", "| r | refused | refused |", "| s | equal | – |", "", "* r, a, b: `no`",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Traceback\nx.NotImplemented: [ONNXRuntimeError] : 9 : NO : node with name 'a'", "NO : node with name"),
        ("loading\nModuleNotFoundError: No module named 'tract'", "No module named 'tract'"),
        ("/tmp/work/model.onnx: error: no such operator\n", "model.onnx: error: no such operator"),
        ("", "exit code 3"),
    ],
)
def test_a_reason_is_what_files_have_in_common(said: str, reason: str) -> None:
    assert reason_of(subprocess.CalledProcessError(3, "job", "", said)) == reason


def test_a_crash_is_told_from_a_refusal() -> None:
    assert reason_of(subprocess.CalledProcessError(-11, "job", "", "error: x")) == "crashed (signal 11)"


def test_every_contender_is_pinned() -> None:
    assert all("==" in contender.packages[0] or "@" in contender.packages[0] for contender in CONTENDERS)
    assert len({contender.title for contender in CONTENDERS}) == len(CONTENDERS)
