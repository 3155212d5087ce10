"""What is tried next and what is best, from outcomes alone."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.build import BuildConfig
from genq_export.pipeline.tune.candidate import CHEAP, Candidate
from genq_export.pipeline.tune.choice import WIDE, Conditions, best, front, nearest, next_candidate
from genq_export.pipeline.tune.outcome import GAIN, Minimize, Outcome, Unit
from tests.pipeline.tune.outcomes import outcome

SHARES = st.floats(0.05, 2.0)
OUTCOMES = st.lists(
    st.builds(outcome, st.just("a"), st.floats(-1, 10), SHARES, SHARES), min_size=1, max_size=8
)  # fmt: skip


def search(measured: Callable[[Candidate], Outcome], conditions: Conditions, learn: bool = True) -> list[str]:
    """Names of what is built, in order."""
    tried: dict[Candidate, Outcome] = {}
    while candidate := next_candidate(tried, [], conditions, learn):
        tried[candidate] = measured(candidate)
    return [candidate.name for candidate in tried]


def costs(candidate: Candidate) -> Outcome:
    """A network whose 4-bit weights lose a tenth more than is allowed, and less once learned."""
    loss = {(8, 8): 0.0, (4, 8): 1.1, (None, None): 0.6, (4, 4): 9.0}[candidate.weight_bits, candidate.activation_bits]
    loss *= 0.2 if candidate.wide else 1
    size = {8: 0.26, 4: 0.15, None: 0.2}[candidate.weight_bits]
    loss *= 0.6 if candidate.learned else 1
    return outcome(candidate.name, loss, 0.6 + 0.2 * len(candidate.kept), size + 0.06 * len(candidate.kept))


@given(OUTCOMES, st.sampled_from(["latency", "size", "loss"]))
def test_the_front_holds_all_that_nothing_beats(found: list[Outcome], minimize: Minimize) -> None:
    line, axis = front(found, minimize), ("size" if minimize == "size" else "latency")
    for one in found:
        assert any(part.loss <= one.loss and part.cost(axis) <= one.cost(axis) for part in line)
    for part in line:
        assert not any(one.loss < part.loss and one.cost(axis) < part.cost(axis) for one in found)


@given(OUTCOMES, st.sampled_from(["latency", "size", "loss"]), st.floats(-1, 5))
def test_the_best_is_allowed_and_no_allowed_one_is_clearly_better(
    found: list[Outcome], minimize: Minimize, limit: float
) -> None:
    conditions = Conditions(max_loss=limit, minimize=minimize)
    allowed = [one for one in found if one.loss <= limit and one.beats_float(minimize)]
    chosen = best(found, conditions)
    assert (chosen is None) == (not allowed)
    if chosen is not None:
        least = min(one.cost(minimize) for one in allowed)
        assert chosen in allowed and chosen.cost(minimize) <= least + 0.02 * abs(least) + 1e-12


def test_what_is_no_better_than_float_is_never_the_best() -> None:
    slow = outcome("slow", 0.0, 1 / GAIN + 1e-6, 0.25)
    assert best([slow], Conditions()) is None and best([slow], Conditions(minimize="loss")) is None
    assert best([slow], Conditions(minimize="size")) is slow
    unmeasured = slow.model_copy(update={"time_share": None})
    assert best([unmeasured], Conditions()) is unmeasured  # by its size, as no time could be taken


def test_cheap_ones_come_first_and_nothing_follows_where_nothing_would_be_better() -> None:
    assert search(costs, Conditions()) == [candidate.name for candidate in CHEAP]


def test_what_is_smaller_and_loses_a_little_too_much_is_mended_and_learned() -> None:
    conditions = Conditions(minimize="size")
    assert search(costs, conditions) == ["w8a8", "w4a8", "w4a8-float1", "w4a8-float2", "w4a8-learned"]
    assert "w4a8-learned" not in search(costs, conditions, learn=False)
    assert search(costs, Conditions(minimize="size", max_loss=0.1)) == ["w8a8", "w4a8", "mixed6"]  # out of reach


def test_what_cannot_be_the_best_is_not_built() -> None:
    assert search(costs, Conditions(minimize="size", max_loss=2.0)) == ["w8a8", "w4a8"]
    assert "w4a4" not in search(costs, Conditions(minimize="loss"))
    assert next_candidate({CHEAP[0]: costs(CHEAP[0])}, [CHEAP[1]], Conditions(minimize="loss"), learn=True) == CHEAP[2]
    tried = {candidate: costs(candidate) for candidate in (CHEAP[0], CHEAP[2])}
    assert next_candidate(tried, [CHEAP[1]], Conditions(minimize="loss"), learn=True) == CHEAP[3]


def test_some_activations_of_8_bits_are_tried_where_4_gain_time_and_lose_too_much() -> None:
    def faster(candidate: Candidate) -> Outcome:
        time = {4: 0.5, 8: 0.6, None: 0.6}[candidate.activation_bits] + (0.04 if candidate.wide else 0)
        return costs(candidate).model_copy(update={"time_share": time})

    conditions = Conditions(max_loss=2.0)
    assert search(faster, conditions) == ["w8a8", "w4a8", "mixed6", "w4a4", "w4a4-8"]
    assert "w4a4-8" not in search(faster, Conditions(max_loss=1.0))  # W4A8 loses too much, so this does
    assert "w4a4-8" not in search(costs, conditions)  # W4A4 is no faster
    assert best([faster(WIDE), faster(CHEAP[1])], conditions) == faster(WIDE)


def test_a_candidate_with_some_activations_of_8_bits_is_the_option_of_that_name() -> None:
    base = BuildConfig.for_model("fashion_resnet")
    found, option = WIDE.config(base).quantize, BuildConfig.for_model("fashion_resnet", activation_bits="auto").quantize
    assert found.wide_activations == option.wide_activations and found.activation_bits == option.activation_bits
    assert not CHEAP[3].config(base).quantize.uses("wide_activations")


def test_where_nothing_is_allowed_the_nearest_is_followed_and_known() -> None:
    built = search(costs, Conditions(max_loss=-5.0))
    assert built[4:] == ["w8a8-float1", "w8a8-float2"]
    assert nearest([costs(candidate) for candidate in CHEAP]).name == "w8a8"


def test_what_could_not_be_built_is_not_tried_again() -> None:
    assert next_candidate({}, [CHEAP[0]], Conditions(), learn=True) == CHEAP[1]


@pytest.mark.parametrize(("unit", "limit"), [("points", 1.0), ("nats", 0.05), ("dB", -20.0)])
def test_every_unit_has_a_usual_limit(unit: Unit, limit: float) -> None:
    assert Conditions().limit(unit) == limit and Conditions(max_loss=3.0).limit(unit) == 3.0
