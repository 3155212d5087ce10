"""Outcomes for tests of what `tune` decides."""

from genq_export.pipeline.tune.outcome import Outcome, Unit


def outcome(name: str, loss: float, time_share: float | None, size_share: float, unit: Unit = "points") -> Outcome:
    """One with two layers, of which `worst` costs most."""
    return Outcome(
        name=name, loss=loss, unit=unit, time_share=time_share, noise=0.0, deployed_ms=time_share, float_ms=1.0,
        size_share=size_share, deployed_bytes=round(1e6 * size_share), worst=("worst", "next"), seconds=1.0,
    )  # fmt: skip
