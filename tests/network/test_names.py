"""Names inside a network are identifiers that meet nothing; names in the file lead back to what they name."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

from genq_export.network import names
from genq_export.network.interpreter import GraphNetwork

ATTRIBUTES = sorted(name for name in dir(nn.Module()) if name.isidentifier())
KINDS = ("quantizer", "layer", "product", "kept", "constant")
PATHS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4).map(".".join)


@settings(deadline=None)
@given(st.sampled_from(KINDS), PATHS | st.sampled_from(ATTRIBUTES))
def test_a_part_s_name_is_an_identifier_that_no_module_has(kind: names.Kind, path: str) -> None:
    name = names.part_name(kind, path)
    assert names.is_name(name) and not hasattr(GraphNetwork(fx.Graph(), {}), name)
    assert names.kind_of_part(name) == kind


@settings(deadline=None)
@given(st.lists(PATHS | st.sampled_from(("a", "a.b", "a__b", "a_b", "to", "half", "type", "training")), max_size=12))
def test_parts_of_any_paths_live_beside_each_other(paths: list[str]) -> None:
    network = GraphNetwork(fx.Graph(), {})
    taken = [network.add(names.part_name("constant", path), torch.tensor(float(n))) for n, path in enumerate(paths)]
    assert [float(getattr(network, name)) for name in taken] == list(range(len(paths)))
    assert network.to(torch.float64) is network and network.half() is network, "these are methods still"


@settings(deadline=None)
@given(PATHS)
def test_a_cleaned_path_is_a_path(path: str) -> None:
    assert names.is_path(names.clean_path(path)) and names.clean_path(names.clean_path(path)) == names.clean_path(path)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a/b", "a" * 501, "x=1", 3, None, "a;b"])
def test_what_is_no_path_is_not_taken_for_one(text: object) -> None:
    assert not names.is_path(text)


@pytest.mark.parametrize("text", ["", "a.b", "1a", "a b", "a-b", "a" * 501, 'x", None) or exec("1")', 3, None])
def test_what_is_no_name_is_not_taken_for_one(text: object) -> None:
    assert not names.is_name(text)


@pytest.mark.parametrize(
    ("tensor", "back"),
    [(names.codes_tensor, names.quantizer_of), (names.weight_tensor, names.layer_of_weight)],
)
def test_tensors_of_the_file_lead_back(tensor: Callable[[str], str], back: Callable[[str], str | None]) -> None:
    assert back(tensor("blocks.3.attn")) == "blocks.3.attn" and back("blocks.3.attn") is None


def test_a_tensor_of_a_part_splits_where_it_was_joined() -> None:
    assert names.split_tensor_name(names.scale_name("quantizer_a__b")) == ("quantizer_a__b", "scale")
    assert names.split_tensor_name("constant_a") == ("constant_a", "")
