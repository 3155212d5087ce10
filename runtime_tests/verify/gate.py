"""One condition of a build, judged or not."""

from pydantic import AliasChoices, Field

from runtime_tests.verify.results import Frozen


class Gate(Frozen):
    """One condition: `value` (None: could not be measured although it had to be) against `threshold`."""

    name: str
    title: str
    value: float | None
    threshold: float
    at_least: bool
    passed: bool
    message: str = Field(validation_alias=AliasChoices("message", "sentence"))


class Ungated(Frozen):
    """A gate that does not apply here, and why."""

    name: str
    reason: str


def gate(name: str, title: str, value: float | None, threshold: float, at_least: bool, message: str) -> Gate:
    """A gate that was judged: `value` at least, or at most, `threshold`; a value that is missing fails."""
    passed = value is not None and (value >= threshold if at_least else value <= threshold)
    rounded = None if value is None else round(value, 9)
    return Gate(
        name=name, title=title, value=rounded, threshold=threshold, at_least=at_least, passed=passed, message=message
    )
