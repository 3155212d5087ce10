"""What a filter is: one number for each image of a pool, and which images that number drops.

Filters are listed in `config.registry.FILTERS` by the name of their column in `metadata.jsonl`. All of them look at the
same one forward pass. Filters of one role stand in for each other: the first that applies to a network is used.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genq_export.config.calibrate import CalibrateConfig
from genq_export.config.registry import FILTERS
from genq_export.core.registry import resolve
from genq_export.models.loaded import LoadedModel


class Filter(ABC):
    """One score of an image.

    name: its column in `metadata.jsonl`, and its key in the registry. role: what the metadata gives as the reason where
    it drops an image. low_is_good: which end of the scores is kept.
    """

    name: str
    role: str
    low_is_good = True

    def applies_to(self, model: LoadedModel) -> bool:
        """Has the network what this score is made of?"""
        return True

    def recording(self, module: nn.Module, images: int) -> AbstractContextManager[Any]:
        """Give the record that one forward pass of `images` images fills while active; nothing beside the logits."""
        return nullcontext()

    @abstractmethod
    def scores(self, records: Sequence[Any], logits: Sequence[torch.Tensor], settings: CalibrateConfig) -> list[float]:
        """Score a group of images that are compared with each other.

        Args:
            records: what `recording` gave, one for each forward pass.
            logits: float [B, classes, ...] of the same passes; none where the network gives none.
            settings: of the set.

        Returns:
            One number an image, in order.
        """

    @abstractmethod
    def kept_share(self, settings: CalibrateConfig) -> float:
        """Share of a class, above 0 and up to 1, that is kept; 1 is off."""

    def maximum(self, settings: CalibrateConfig) -> float | None:
        """Score beyond which an image is never kept and another one is drawn; None: no such bound."""
        return None

    def facts(self, settings: CalibrateConfig) -> dict[str, float]:
        """Settings of its own that a report should state, beside the kept share."""
        return {}

    def badness(self, score: float) -> float:
        """The score with low as good."""
        return score if self.low_is_good else -score


@dataclass(frozen=True)
class FilterRule:
    """A filter as one set uses it. kept_share 1 and maximum None: it scores and drops nothing."""

    filter: Filter
    kept_share: float
    maximum: float | None = None

    @property
    def beyond(self) -> str:
        """The reason that the metadata gives for an image beyond the maximum."""
        return f"{self.filter.role} above maximum"

    def facts(self, settings: CalibrateConfig) -> dict[str, float | str | None]:
        """What a report says of the filter: `energy_keep` and so on, and which score plays a role that has several."""
        role, name = self.filter.role, self.filter.name
        which: dict[str, float | str | None] = {} if name == role else {f"{role}_score": name}
        return {**which, f"{role}_keep": self.kept_share, f"{role}_max": self.maximum, **self.filter.facts(settings)}

    def allows(self, scores: Mapping[str, float]) -> bool:
        """Is an image of these scores within the maximum?"""
        return self.maximum is None or scores[self.filter.name] <= self.maximum


def all_filters() -> list[Filter]:
    """Return every filter there is, in order of use."""
    return [resolve(path) for path in FILTERS.values()]


def filters_for(model: LoadedModel) -> list[Filter]:
    """Return the filters that score images for a network: the first of each role that applies, in order of use."""
    found: dict[str, Filter] = {}
    for candidate in all_filters():
        if candidate.role not in found and candidate.applies_to(model):
            found[candidate.role] = candidate
    return list(found.values())


def filter_rules(model: LoadedModel, settings: CalibrateConfig, dropping: bool) -> list[FilterRule]:
    """Return what the filters of a network do to a set.

    Args:
        model: the network.
        settings: of the set.
        dropping: False where images are scored only, none is dropped.
    """
    if not dropping:
        return [FilterRule(each, 1.0) for each in filters_for(model)]
    return [FilterRule(each, each.kept_share(settings), each.maximum(settings)) for each in filters_for(model)]


def pool_factor(settings: CalibrateConfig, dropping: bool) -> float:
    """Images to draw for one kept when none is unusable: what the kept shares of all roles leave.

    The same for every network, also for one that has no score of some role: pools of one config are of one size.
    """
    if not dropping:
        return 1.0
    shares: dict[str, float] = {}
    for each in all_filters():
        shares.setdefault(each.role, each.kept_share(settings))
    return 1 / math.prod(shares.values())
