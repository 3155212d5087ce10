"""What all filters have in common."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from calibrate.filters.filter import all_filters, filter_rules, filters_for
from calibrate.scoring import score_group
from genq_export.config.calibrate import CalibrateConfig
from genq_export.config.registry import FILTERS
from genq_export.models.loaded import LoadedModel
from tests.calibrate.conftest import loaded, seeded_convnet


def plain() -> LoadedModel:
    """Neither BatchNorm nor attention."""
    return loaded(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))


def transformer() -> LoadedModel:
    from timm.models.vision_transformer import VisionTransformer

    return loaded(VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3))


def test_a_filter_has_the_name_it_is_registered_by() -> None:
    assert [each.name for each in all_filters()] == list(FILTERS)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (plain, ["energy"]),
        (transformer, ["energy", "patch_entropy"]),
        (seeded_convnet, ["energy", "bn_sensitivity"]),
    ],
)
def test_a_network_is_scored_by_what_it_has(make: Callable[[], LoadedModel], names: list[str]) -> None:
    model, settings = make(), CalibrateConfig()  # type: ignore[call-arg]
    assert [each.name for each in filters_for(model)] == names
    found = score_group(model, torch.randn(10, 3, 16, 16).split(4), settings)
    assert len(found) == 10 and all(list(scores) == names for scores in found)


def test_a_source_that_is_not_filtered_drops_nothing(convnet: LoadedModel) -> None:
    settings = CalibrateConfig(energy_max=0.0)  # type: ignore[call-arg]
    assert all(rule.kept_share == 1 and rule.maximum is None for rule in filter_rules(convnet, settings, False))
    energy, bn = filter_rules(convnet, settings, True)
    assert (energy.kept_share, energy.maximum, bn.kept_share, bn.maximum) == (0.9, 0.0, 0.75, None)
    assert not energy.allows({"energy": 1.0}) and energy.beyond == "energy above maximum"
