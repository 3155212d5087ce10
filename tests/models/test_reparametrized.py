"""Weights in two parts become the weight that the trained network computes with."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from genq_export.core.errors import UserError
from genq_export.models.state_dict import StateDict, fitted, load


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 2), nn.Flatten(), nn.Linear(18, 5)
    )


def weighted(net: nn.Module) -> list[nn.Module]:
    return [part for part in net if hasattr(part, "weight") and part.weight.ndim > 1]  # type: ignore[union-attr]


Make = Callable[[nn.Module], object]
KINDS: dict[str, tuple[Make, str]] = {
    "pruned": (lambda part: prune.l1_unstructured(part, "weight", 0.4), "masks of pruning were applied (3"),
    "pruned by channel": (lambda part: prune.ln_structured(part, "weight", 0.5, 2, 0), "masks of pruning"),
    "pruned bias": (lambda part: prune.random_unstructured(part, "bias", 0.5), "masks of pruning"),
    "weight norm": (lambda part: parametrizations.weight_norm(part), "multiplied out (3 weights)"),
    "weight norm over another dimension": (lambda part: parametrizations.weight_norm(part, dim=1), "multiplied out"),
    "weight norm of all": (lambda part: parametrizations.weight_norm(part, dim=None), "multiplied out"),
    "the older weight norm": (lambda part: nn.utils.weight_norm(part), "multiplied out (3 weights)"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", KINDS)
def test_both_parts_become_the_weight(kind: str, prefix: str) -> None:
    make, words = KINDS[kind]
    trained = network()
    for part in weighted(trained):
        make(part)
        for name, value in part.named_parameters():
            value.data += 0.1 * torch.randn_like(value) * (1 if "orig" in name else 1.0)
    own, image = network().eval(), torch.randn(2, 3, 4, 4)
    state = {prefix + name: tensor for name, tensor in copy.deepcopy(trained.state_dict()).items()}
    notes = load(fitted(StateDict("w.pth", state), own), own)
    torch.testing.assert_close(own(image), trained.eval()(image))
    assert any(words in note for note in notes)


def test_a_network_that_has_such_names_itself_keeps_them() -> None:
    own = network()
    own.register_parameter("a", nn.Parameter(torch.ones(2)))
    own.register_parameter("a_g", nn.Parameter(torch.ones(2)))
    own.register_parameter("a_v", nn.Parameter(torch.full((2,), 3.0)))
    state = copy.deepcopy(own.state_dict())
    assert load(fitted(StateDict("w.pth", state), own), own) == () and own.a_v.tolist() == [3, 3]  # type: ignore[operator, union-attr]


def test_what_is_not_put_together_is_refused_by_name() -> None:
    trained = network()
    parametrizations.spectral_norm(trained[4])  # type: ignore[index]
    with pytest.raises(UserError, match=r"missing '4\.weight'"):
        load(fitted(StateDict("w.pth", trained.state_dict()), own := network()), own)
