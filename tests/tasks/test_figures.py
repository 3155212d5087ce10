"""Figures of a task say how near two answers are, and the shapes of outputs decide for a task."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.registry import TASKS
from genq_export.tasks.detection import has_corners, layout_of
from genq_export.tasks.sequence import collapsed
from genq_export.tasks.task import Arrays, task_by_shape, task_of

RNG = np.random.default_rng(0)
SHAPES = {
    "classification": {"logits": (10,)}, "segmentation": {"out": (5, 8, 8)}, "dense": {"map": (1, 8, 8)},
    "embedding": {"features": (16,)}, "sequence": {"steps": (12, 6)}, "tensors": {"a": (3,), "b": (2, 4, 4)},
    "detection": {"boxes": (20, 4), "scores": (20, 3)},
}  # fmt: skip


def drawn(task: str, images: int = 6) -> dict[str, np.ndarray]:
    """Outputs of a task; boxes are corners around a place."""
    found = {name: RNG.standard_normal((images, *shape)).astype(np.float32) for name, shape in SHAPES[task].items()}
    if task == "detection":
        corner = RNG.uniform(0, 80, (images, 20, 2))
        found["boxes"] = np.concatenate([corner, corner + RNG.uniform(5, 20, (images, 20, 2))], 2).astype(np.float32)
    return found


def moved(outputs: Arrays, amount: float) -> dict[str, np.ndarray]:
    """The outputs with noise."""
    noise = {name: RNG.standard_normal(array.shape, np.float32) for name, array in outputs.items()}
    return {name: array + amount * noise[name] for name, array in outputs.items()}


@pytest.mark.parametrize("name", list(TASKS))
def test_equal_answers_are_best_and_noise_is_worse(name: str) -> None:
    task, outputs = task_of(name), drawn(name)

    def first(amount: float) -> float:
        comparison = task.comparison()
        for part in range(2):
            batch = {key: array[3 * part : 3 * part + 3] for key, array in outputs.items()}
            comparison.add(batch, moved(batch, amount))
        return comparison.figures()[0].value

    best = first(0)
    assert best == 300 if name in ("tensors",) or (name == "dense") else best == pytest.approx(1)
    assert first(0.5) <= best and first(50) < best
    assert all(0 < value < 1 for value in task.least(8).values())
    assert task.fits(SHAPES[name]) and task.least(8).keys() <= {figure.name for figure in _figures(name)}


def _figures(name: str) -> tuple[object, ...]:
    comparison = task_of(name).comparison()
    comparison.add(drawn(name), drawn(name))
    return comparison.figures()


@pytest.mark.parametrize("name", list(TASKS))
def test_divergence_is_least_at_the_teacher_and_has_a_gradient(name: str) -> None:
    task = task_of(name)
    tensors = {key: torch.from_numpy(array) for key, array in drawn(name).items()}
    other = {key: (tensor + 0.3 * torch.randn_like(tensor)).requires_grad_() for key, tensor in tensors.items()}
    plain = next(iter(tensors.values())) if name == "classification" else tensors
    noisy = next(iter(other.values())) if name == "classification" else other
    assert float(task.divergence(plain, plain)) == pytest.approx(0, abs=1e-5)
    loss = task.divergence(noisy, plain)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss) > 1e-4 and all(tensor.grad is not None for tensor in other.values())


@pytest.mark.parametrize(
    ("shapes", "features", "task"),
    [
        ({"x": (10,)}, False, "classification"),
        ({"x": (1,)}, False, "tensors"),
        ({"x": (10,)}, True, "embedding"),
        ({"x": (3, 4, 4)}, False, "segmentation"),
        ({"x": (3, 4, 4)}, True, "tensors"),
        ({"x": (1, 4, 4)}, False, "dense"),
        ({"x": (84, 8400)}, False, "tensors"),
        ({"b": (8400, 4), "s": (8400, 80)}, False, "detection"),
        ({"s": (80, 8400), "b": (4, 8400)}, False, "detection"),
        ({"x": (3,), "y": (4,)}, False, "tensors"),
    ],
)
def test_the_shape_of_outputs_decides_where_nobody_says(
    shapes: dict[str, tuple[int, ...]], features: bool, task: str
) -> None:
    assert task_by_shape(shapes, features) == task


def test_layouts_of_detectors_are_told_apart() -> None:
    one = layout_of({"output0": (84, 8400)})
    assert one is not None and one.together and one.boxes_last
    turned = layout_of({"s": (80, 8400), "b": (4, 8400)})
    assert turned is not None and (turned.boxes, turned.boxes_last, turned.scores_last) == ("b", True, True)
    assert layout_of({"a": (100, 4), "b": (50, 3)}) is None and layout_of({"a": (4,), "b": (3,)}) is None
    corners = drawn("detection")["boxes"]
    centres = np.concatenate([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
    assert has_corners(corners) and not has_corners(centres)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_ctc_reads_runs_once_and_no_blanks(symbols: list[int]) -> None:
    found = collapsed(np.array(symbols, np.int64))
    assert 0 not in found
    doubled = [symbol for symbol in symbols for _ in range(2)]
    assert collapsed(np.array(doubled, np.int64)) == found
    spaced = [part for symbol in symbols for part in (symbol, 0)]
    assert collapsed(np.array(spaced, np.int64)) == [symbol for symbol in symbols if symbol]
