"""The exact versions that the container is made from are ones that pyproject.toml takes."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def asked(extra: str | None) -> list[Requirement]:
    """What the package asks for, and with an extra all that this takes in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found = []
    for requirement in map(Requirement, texts):
        own = requirement.name == project["name"]
        found += [part for name in requirement.extras for part in asked(name)] if own else [requirement]
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements" / "cpu.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_whatever_is_asked_for_is_pinned_within_its_range() -> None:
    pinned = pins()
    wanted = [*asked(None), *asked("all")]
    assert len(wanted) > 15
    for requirement in wanted:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_container_takes_the_same_torch() -> None:
    text = (ROOT / "Containerfile").read_text()
    assert f"torch=={pins()['torch']} torchvision=={pins()['torchvision']}" in text
