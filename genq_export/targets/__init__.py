"""What a build is made for: one file a target. Reached by name; a name is a line of `config.registry.TARGETS`."""

from genq_export.config.registry import TARGETS
from genq_export.config.target import TargetRule
from genq_export.core.registry import find
from genq_export.targets.base import Target


def target(name: str) -> Target:
    """The target of this name.

    Raises:
        UserError: for a name that is not registered, with those that are.
    """
    found: Target = find(TARGETS, name, "target")
    return found


def rule_for(name: str) -> TargetRule:
    """What the target of this name can hold."""
    return target(name).rule


def title_of(name: str) -> str:
    """A target as a reader knows it; the bare name where it is not registered here (a report made elsewhere)."""
    return target(name).title if name in TARGETS else name
