"""Exact versions of everything that genq-export needs with an extra, as they are installed here.

python -m tools.pinned all > requirements/cpu.txt
"""

import argparse
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "genq-export"
# CPU builds of these come from an index of their own (`Containerfile`), under the same version.
_TORCH = "installed from https://download.pytorch.org/whl/cpu beforehand, so that no CUDA comes along"


def main() -> None:
    """Print a requirements file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra")
    extra = parser.parse_args().extra
    print(f"# python -m tools.pinned {extra}; torch and torchvision are {_TORCH}")
    print("\n".join(pinned(extra)))


def pinned(extra: str) -> list[str]:
    """`name==version` of every distribution in the closure, sorted."""
    found: dict[str, str] = {}
    waiting = [(Requirement(f"{ROOT}[{extra}]"))]
    seen = set[tuple[str, str]]()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for part in ("", *sorted(wanted.extras)):
            if (name, part) in seen:
                continue
            seen.add((name, part))
            try:
                installed = distribution(name)
            except PackageNotFoundError:
                continue
            if name != ROOT:
                found[name] = installed.version.partition("+")[0]
            waiting += _needs(installed.requires or [], part)
    return sorted(f"{name}=={release}" for name, release in found.items())


def _needs(requires: list[str], extra: str) -> Iterator[Requirement]:
    """What applies here, of one extra or of none."""
    for text in requires:
        requirement = Requirement(text)
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate({"extra": extra}) and (extra or "extra" not in str(requirement.marker)):
            yield requirement


if __name__ == "__main__":
    main()
