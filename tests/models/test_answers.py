"""What a network gives is found by trying it, and given by name; what is no output is named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genq_export.core.errors import UserError
from genq_export.models.answers import classes_of, tried

SIZE = (3, 8, 8)


class Returns(nn.Module):
    """A network that gives what a function makes of its features."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 1)
        self._function = function

    def forward(self, x: Tensor) -> object:
        """Call the function."""
        return self._function(self.features(x))


def failing(x: Tensor) -> Tensor:
    raise RuntimeError("size mismatch")


def vector(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def test_logits_stay_a_tensor() -> None:
    found = tried("net", network := Returns(vector), SIZE)
    assert found.module is network and found.shapes == {"logits": (4,)} and not found.notes
    assert classes_of("net", network, SIZE) == 4 and classes_of("net", Returns(lambda x: x), SIZE) == 0


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: x, {"output": (4, 8, 8)}),
        (lambda x: x.flatten(2), {"output": (4, 64)}),
        (lambda x: (x, vector(x)), {"output_0": (4, 8, 8), "output_1": (4,)}),
        (lambda x: {"out": x, "aux": [x + 1]}, {"out": (4, 8, 8), "aux.0": (4, 8, 8)}),
        (lambda x: {"logits": vector(x)}, {"logits": (4,)}),
        (lambda x: {"a": x, "b": x}, {"a": (4, 8, 8)}),
        (lambda x: {"input": x, "a b/c": x + 1}, {"input_0": (4, 8, 8), "a_b_c": (4, 8, 8)}),
    ],
)
def test_everything_else_is_given_by_name(function: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    found = tried("net", Returns(function), SIZE)
    assert found.shapes == shapes
    with torch.no_grad():
        answer = found.module(torch.zeros(2, *SIZE))
    given = {"logits": answer} if isinstance(answer, Tensor) else answer
    assert {name: tuple(tensor.shape) for name, tensor in given.items()} == {n: (2, *s) for n, s in shapes.items()}


def test_integers_are_left_out_and_said() -> None:
    found = tried("net", Returns(lambda x: {"scores": x, "classes": x.argmax(1)}), SIZE)
    assert list(found.shapes) == ["scores"] and "left out 'classes'" in found.notes[0]


def test_outputs_are_chosen_by_name_or_by_the_module_that_computes_them() -> None:
    network = Returns(lambda x: {"a": 2 * x, "b": vector(x)})
    assert tried("net", network, SIZE, ["b"]).shapes == {"b": (4,)}
    found = tried("net", network, SIZE, ["a", "features"])
    assert found.shapes == {"a": (4, 8, 8), "features": (4, 8, 8)} and found.inner
    alone = tried("net", network, SIZE, ["features"])
    assert list(alone.module(torch.ones(1, *SIZE))) == ["features"]


@pytest.mark.parametrize(
    ("function", "wanted", "line"),
    [
        (lambda x: x.flatten(), None, r"\[256\] for one image, whose first axis is not that"),
        (lambda x: x.flatten(1).argmax(1, keepdim=True), None, r"int64 \[1, 1\]"),
        (lambda x: None, None, "returns no tensor"),
        (lambda x: [x + number for number in range(65)], None, "gives 65 tensors"),
        (failing, None, "does not take an input of .*size mismatch; say what it takes with --input-size"),
        (lambda x: x, ["feature"], "no output and no module 'feature': its outputs are 'output', modules 'features'"),
    ],
)
def test_what_is_no_output_is_named(function: Any, wanted: list[str] | None, line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        tried("net", Returns(function), SIZE, wanted)
    assert "\n" not in str(error.value)
