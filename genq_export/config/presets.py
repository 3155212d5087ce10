"""Presets: a name for some settings. They lie beneath what is given and never change it."""

from collections.abc import Iterator, Mapping
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"calibrate": {"images": 256}, "quantize": {"reconstruction": {"iterations": 0}}},
    "default": {},
    "thorough": {"quantize": {"reconstruction": {"iterations": 20000}}},
}


def described() -> str:
    """What each says: `quick: calibrate.images=256, quantize.iterations=0; …`"""
    told = {name: ", ".join(_flat(settings)) for name, settings in PRESETS.items()}
    return "; ".join(f"{name}: {settings}" for name, settings in told.items() if settings)


def _flat(settings: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{section}{name}.")
        else:
            yield f"{section}{name}={value}"
