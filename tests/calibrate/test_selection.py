import itertools

from hypothesis import given
from hypothesis import strategies as st

from calibrate.filters.bn_sensitivity import BnSensitivityFilter
from calibrate.filters.energy import EnergyFilter
from calibrate.filters.filter import FilterRule, pool_factor
from calibrate.selection import QUOTA, Candidate, SelectionRules, interleave, planned, quotas, select, shortfall
from genq_export.config.calibrate import CalibrateConfig
from genq_export.data.calibration_set import KEPT

ENERGY, ENERGY_MAX, DISTRIBUTION = "energy", "energy above maximum", "distribution"
_scores = st.floats(-100, 100)


def rules_of(distribution: bool = True, **settings: object) -> SelectionRules:
    """Rules of a network with the energy filter, and with BatchNorm or without."""
    config = CalibrateConfig.model_validate(settings)
    filters = [EnergyFilter(), *([BnSensitivityFilter()] if distribution else [])]
    rules = tuple(FilterRule(each, each.kept_share(config), each.maximum(config)) for each in filters)
    return SelectionRules(rules, pool_factor(config, dropping=True), config.pool_limit)


def candidate(number: int, label: int, energy: float, bn: float = 0.0, rejected: str | None = None) -> Candidate:
    return Candidate(number, label, {} if rejected else {"energy": energy, "bn_sensitivity": bn}, rejected)


@st.composite
def _pools(draw: st.DrawFn) -> tuple[list[Candidate], list[int], SelectionRules]:
    classes = draw(st.integers(1, 4))
    rules = rules_of(
        draw(st.booleans()),
        energy_keep=draw(st.floats(0.1, 1)),
        distribution_keep=draw(st.floats(0.1, 1)),
        energy_max=draw(st.none() | _scores),
    )
    pool = draw(
        st.lists(
            st.tuples(st.integers(0, classes - 1), _scores, _scores, st.sampled_from([None, None, "flat"])),
            max_size=40,
        )
    )
    candidates = [candidate(number, *parts) for number, parts in enumerate(pool)]
    return candidates, draw(st.lists(st.integers(0, 12), min_size=classes, max_size=classes)), rules


@given(st.integers(1, 5000), st.integers(1, 1200))
def test_quotas_sum_up_and_differ_by_one(images: int, classes: int) -> None:
    shares = quotas(images, classes)
    assert sum(shares) == images and len(shares) == classes and max(shares) - min(shares) <= 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_interleaving_gives_each_label_its_count(counts: list[int]) -> None:
    labels = interleave(counts)
    assert [labels.count(label) for label in range(len(counts))] == counts


def test_a_smaller_pool_is_the_beginning_of_a_larger_one() -> None:
    assert interleave([5, 5, 5])[:9] == interleave([3, 3, 3])


@given(st.integers(65, 2000))
def test_many_classes_come_in_strides(classes: int) -> None:
    labels = interleave([1] * classes)
    assert sorted(labels) == list(range(classes))
    first = labels[:32]  # which are drawn together
    assert min(first) < classes / 8 and max(first) > classes * 7 / 8
    assert max(b - a for a, b in itertools.pairwise(sorted(first))) < classes / 8


@given(_pools())
def test_selection_keeps_its_promises(pool: tuple[list[Candidate], list[int], SelectionRules]) -> None:
    candidates, quota, rules = pool
    reasons, limit = select(candidates, quota, rules), rules.filters[0].maximum
    assert len(reasons) == len(candidates)
    for label, share in enumerate(quota):
        mine = [(c, r) for c, r in zip(candidates, reasons, strict=True) if c.label == label]
        usable = [
            (c, r) for c, r in mine
            if c.rejected is None and (limit is None or c.scores["energy"] <= limit)
        ]  # fmt: skip
        assert sum(r == KEPT for _, r in mine) == min(share, len(usable)), "a class is never below what it could have"
        assert all(r == (c.rejected or ENERGY_MAX) for c, r in mine if (c, r) not in usable)
        kept = [c.scores["energy"] for c, r in usable if r != ENERGY]
        dropped = [c.scores["energy"] for c, r in usable if r == ENERGY]
        assert not kept or not dropped or max(kept) <= min(dropped)


@given(_pools(), st.randoms())
def test_selection_does_not_depend_on_the_order_of_the_pool(
    pool: tuple[list[Candidate], list[int], SelectionRules], random: object
) -> None:
    candidates, quota, rules = pool
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    by_number = dict(zip((c.number for c in shuffled), select(shuffled, quota, rules), strict=True))
    assert [by_number[c.number] for c in candidates] == select(candidates, quota, rules)


def test_a_planned_pool_fills_its_quota_after_both_filters() -> None:
    rules = rules_of()
    count = planned(102, rules)
    candidates = [candidate(n, 0, float(n), float(-n)) for n in range(count)]
    reasons = select(candidates, [102], rules)
    assert count == 152
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {KEPT: 102, ENERGY: 15, DISTRIBUTION: 35}


@given(st.floats(0.1, 1), st.floats(0.1, 1))
def test_the_plan_of_a_build_counts_on_the_shares_of_the_filters(energy: float, distribution: float) -> None:
    config = CalibrateConfig(energy_keep=energy, distribution_keep=distribution)  # type: ignore[call-arg]
    assert pool_factor(config, dropping=True) == config.pool_factor and pool_factor(config, dropping=False) == 1


def test_what_is_over_the_quota_is_dropped_by_number() -> None:
    candidates = [candidate(n, 0, 0.0) for n in range(4)]
    reasons = select(candidates, [2], rules_of(energy_keep=1, distribution_keep=1))
    assert reasons == [KEPT, KEPT, QUOTA, QUOTA]


def test_without_filters_nothing_is_drawn_in_excess() -> None:
    rules = rules_of(energy_keep=1, distribution_keep=1)
    assert [planned(share, rules) for share in (0, 1, 7)] == [0, 1, 7]


def test_a_class_that_lacks_images_is_drawn_on_at_its_own_rate() -> None:
    rules = rules_of(energy_keep=0.5, distribution_keep=1, pool_limit=8)
    full = [candidate(n, 0, 0.0) for n in range(20)]
    half = [candidate(20 + n, 1, 0.0, rejected="flat" if n % 2 else None) for n in range(20)]
    assert shortfall(full + half, [10, 10], rules) == [0, 20]
    barren = [candidate(n, 0, 0.0, rejected="flat") for n in range(20)]
    assert shortfall(barren, [10], rules) == [60], "up to the limit of 80"
    assert shortfall(barren * 4, [10], rules) == [0]


def test_of_two_images_of_a_class_the_distribution_filter_chooses_one() -> None:
    candidates = [candidate(0, 0, -5.0, 2.0), candidate(1, 0, -1.0, 1.0)]
    assert planned(1, rules_of()) == 2
    assert select(candidates, [1], rules_of()) == [DISTRIBUTION, KEPT]


def test_a_network_without_distribution_score_is_filtered_by_energy_alone() -> None:
    candidates = [candidate(number, 0, -float(number)) for number in range(8)]
    reasons = select(candidates, [5], rules_of(distribution=False, energy_keep=0.75))
    assert reasons == [ENERGY, ENERGY, KEPT, KEPT, KEPT, KEPT, KEPT, QUOTA]
