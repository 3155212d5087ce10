"""Arguments are of the kinds that an operator's schema allows; what a node gives is checked when it is there."""

import operator
from typing import Any

import pytest
import torch
from torch import fx

from genq_export.network.arguments import check_arguments, check_integers

X = fx.Graph().placeholder("x")


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("relu.default", [X], {}),
        ("conv2d.default", [X, X, None, [1, 1], 1], {"groups": 4}),
        ("mul.Tensor", [X, 0.5], {}),
        ("gelu.default", [X], {"approximate": "tanh"}),
        ("reshape.default", [X, [X, -1]], {}),
        ("index.Tensor", [X, [None, X]], {}),
        ("cat.default", [[X, X], 1], {}),
        ("softmax.int", [X, -1, torch.float32], {}),
        ("slice.Tensor", [X, 1, 0, 2**63 - 1], {}),
        ("clamp.default", [X], {"max": float("inf")}),
        ("upsample_bilinear2d.vec", [X, None, False, [2.0, 2.0]], {}),
        ("python.mul", [X, 4], {}),
        ("python.getitem", [X, 0], {}),
    ],
)
def test_what_graphs_hold_is_taken(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    check_arguments(name, args, kwargs)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("relu.default", [], {}),
        ("relu.default", [X, X], {}),
        ("relu.default", [X], {"inplace": True}),
        ("relu.default", [X], {"self": X}),
        ("relu.default", ["x"], {}),
        ("relu.default", [[X]], {}),
        ("conv2d.default", [X, X, None, [1.5, 1]], {}),
        ("conv2d.default", [X, X, None, "same"], {}),
        ("conv2d.default", [X, X], {"groups": True}),
        ("conv2d.default", [X, X], {"groups": 2**63}),
        ("conv2d.default", [X, X], {"groups": None}),
        ("gelu.default", [X], {"approximate": "t" * 65}),
        ("gelu.default", [X], {"approximate": 1}),
        ("cat.default", [X], {}),
        ("index.Tensor", [X, [[X]]], {}),
        ("softmax.int", [X, -1, "float32"], {}),
        ("softmax.int", [X, -1, torch.complex64], {}),
        ("softmax.int", [X, torch.float32], {}),
        ("to.dtype", [X, torch.float32], {"memory_format": torch.channels_last}),
        ("layer_norm.default", [X, [8]], {"eps": "1e-5"}),
        ("scaled_dot_product_attention.default", [X, X, X, None, 0.5], {}),
        ("instance_norm.default", [X, None, None, X, X, True, 0.1, 1e-5, False], {}),
        ("python.mul", [X, 0.5], {}),
        ("python.mul", [X], {}),
        ("python.mul", [X, [1]], {}),
        ("python.getitem", [[X], 0], {}),
        ("python.getitem", [X, 0], {"x": 1}),
    ],
)
def test_anything_else_is_named(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        check_arguments(name, args, kwargs)


@pytest.mark.parametrize("args", [((1, 2), 10**9), (torch.ones(2), 2), (1.5, 2), ("a", 2)])
def test_python_operators_multiply_sizes_and_nothing_else(args: tuple[Any, int]) -> None:
    with pytest.raises(TypeError):
        check_integers(operator.mul, args)


def test_a_part_is_taken_of_a_tuple_alone() -> None:
    check_integers(operator.getitem, ((1, 2), 0))
    check_integers(operator.mul, (3, 4))
    with pytest.raises(TypeError):
        check_integers(operator.getitem, (torch.ones(2), 0))
