"""Numerics against their definitions, and against SciPy where it has them."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

from genq_export.tasks.counts import sqnr_db
from runtime_tests.verify import metrics


@given(st.integers(1, 20000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_scipys(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = metrics.wilson_interval(hits, n)
    expected = scipy.stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= hits / n <= high <= 1


def test_wilson_interval_without_images_says_nothing() -> None:
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    expected = 1.0 if b + c == 0 else scipy.stats.binomtest(b, b + c).pvalue
    assert metrics.mcnemar_p(b, c) == pytest.approx(min(1.0, expected), rel=1e-6)
    assert metrics.mcnemar_p(b, c) == metrics.mcnemar_p(c, b)


@given(st.integers(0, 2**32 - 1))
def test_kl_is_scipys_and_not_negative(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 5, (2, 4, 7)).astype(np.float32)
    expected = rel_entr(softmax(a.astype(np.float64), 1), softmax(b.astype(np.float64), 1)).sum(1)
    assert metrics.kl_divergence(a, b) == pytest.approx(expected, abs=1e-9)
    assert (metrics.kl_divergence(a, a) == 0).all()


def test_kl_of_enormous_logits_is_finite() -> None:
    logits = np.array([[1e30, -1e30]], dtype=np.float32)
    assert np.isfinite(metrics.kl_divergence(logits, logits)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_in_top_counts_ties_as_a_stable_sort_does(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 3, (20, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 20)
    expected = [label in np.argsort(-row, kind="stable")[:k] for row, label in zip(logits, labels, strict=True)]
    assert metrics.in_top(logits, labels, k).tolist() == expected


def test_sqnr_and_cosine_of_the_obvious_cases() -> None:
    assert sqnr_db(100.0, 1.0) == pytest.approx(20)
    assert sqnr_db(1.0, 0.0) == math.inf
    assert metrics.cosine(2.0, 4.0, 1.0) == 1.0
    assert metrics.cosine(0.0, 0.0, 0.0) == 1.0
    assert metrics.cosine(0.0, 0.0, 1.0) == 0.0
