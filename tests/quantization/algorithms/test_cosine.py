"""The rate of methods that learn."""

from hypothesis import given
from hypothesis import strategies as st

from genq_export.quantization.algorithms.cosine import cosine


@given(st.integers(1, 5000), st.integers(0, 10000))
def test_it_falls_from_one_to_zero_and_stays_there(steps: int, step: int) -> None:
    rate = cosine(steps)
    assert rate(0) == 1.0
    assert 0.0 <= rate(step + 1) <= rate(step) <= 1.0
    assert rate(steps) == rate(steps + step) == 0.0
