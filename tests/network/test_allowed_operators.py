"""Every operator on the list changes nothing but what it gives, and gives the same for the same: its schema says so."""

import pytest
import torch

from genq_export.network.allowed_operators import ATEN, FIXED_ARGUMENTS, PYTHON
from genq_export.network.arguments import check_arguments, is_allowed, operator_called, operator_name

REACHES_OUT = ("Generator", "Device", "Storage", "Stream", "Dimname", "File")
RANDOM_UNLESS_FIXED = {"scaled_dot_product_attention.default", "lstm.input"}


@pytest.mark.parametrize("name", sorted(ATEN))
def test_an_operator_mutates_nothing_and_reaches_nothing_else(name: str) -> None:
    function = operator_called(name)
    schema = function._schema  # type: ignore[attr-defined]
    assert operator_name(function) == name and schema.name == f"aten::{name.split('.')[0]}"
    assert not schema.is_mutable
    assert not any(part.alias_info and part.alias_info.is_write for part in (*schema.arguments, *schema.returns))
    assert not any(part.is_out for part in schema.arguments)
    assert not any(word in str(part.real_type) for part in schema.arguments for word in REACHES_OUT)
    assert "filename" not in {part.name for part in schema.arguments}
    assert not name.split(".")[0].endswith("_")
    assert torch.Tag.nondeterministic_seeded not in function.tags or name in FIXED_ARGUMENTS  # type: ignore[attr-defined]
    assert torch.Tag.data_dependent_output not in function.tags  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(PYTHON))
def test_a_python_operator_is_one_of_integers_or_takes_a_part(name: str) -> None:
    function = operator_called(f"python.{name}")
    assert function is PYTHON[name] and operator_name(function) == f"python.{name}"
    assert function((7, 8), 1) == 8 if name == "getitem" else isinstance(function(7, 2), int)


@pytest.mark.parametrize("name", sorted(FIXED_ARGUMENTS))
def test_arguments_that_are_fixed_are_arguments_of_an_operator_on_the_list(name: str) -> None:
    known = {part.name for part in operator_called(name)._schema.arguments}  # type: ignore[attr-defined]
    assert is_allowed(name) and set(FIXED_ARGUMENTS[name]) <= known


@pytest.mark.parametrize(
    "name",
    ["random_.default", "set_.source_Storage", "from_file.default", "rand.default", "bernoulli.default",
     "relu_.default", "copy_.default", "add.out", "zeros.default", "empty.memory_format", "item.default", "python.eval",
     "python.pow", "python.", "relu", "", "relu.", ".default", "__class__.__name__", "relu.__class__",
     "genq::conv2d.default"],
)  # fmt: skip
def test_what_is_not_on_the_list_is_not_allowed(name: str) -> None:
    assert not is_allowed(name)


def test_nothing_on_the_list_is_random_with_what_is_fixed() -> None:
    assert set(FIXED_ARGUMENTS) >= RANDOM_UNLESS_FIXED
    with pytest.raises(TypeError, match="dropout_p"):
        check_arguments("scaled_dot_product_attention.default", [node() for _ in range(3)], {"dropout_p": 0.1})


def node() -> torch.fx.Node:
    return torch.fx.Graph().placeholder("x")
