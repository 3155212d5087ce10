"""The stages by name, in the order of the flow."""

from typing import cast

from genq_export.config.registry import STAGES as REGISTRY
from genq_export.core.registry import find
from genq_export.stage import Stage

STAGES = tuple(REGISTRY)


def find_stage(name: str) -> Stage:
    """The stage of this name."""
    return cast(Stage, find(REGISTRY, name, "stage")())
