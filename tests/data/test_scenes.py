"""Scenes say truly what is in them, and are as hard as they are meant to be."""

import numpy as np
import pytest

from genq_export.data.scenes import HARD, LARGEST, SMALLEST, Scene, backgrounds, draw_scene, resized, two_colours

SIDE = 80
LABELS = np.arange(8) % 4


def objects() -> np.ndarray:
    """Bright rectangles on black, tall and wide."""
    found = np.zeros((8, 28, 28), np.uint8)
    for number in range(8):
        found[number, 3 : 25 - 2 * number, 8 - number // 2 : 20] = 255
    return found


def drawn(seed: int) -> Scene:
    return draw_scene(objects(), LABELS, lambda rng: two_colours(SIDE, rng), np.random.default_rng(seed))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [drawn(seed) for seed in range(300)]


def test_boxes_are_the_extents_of_what_is_seen(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert 1 <= len(scene.labels) <= 6 and len(scene.boxes) == len(scene.labels) == len(scene.hidden)
        for box, label in zip(scene.boxes.astype(int), scene.labels, strict=True):
            left, top, right, bottom = box
            window = scene.mask[top:bottom, left:right] == 1 + label
            assert window.any(0).all() or window.any()  # an object may lie behind one of its own class
            assert window[0].any() and window[-1].any() and window[:, 0].any() and window[:, -1].any()
        outside = scene.mask.copy()
        for left, top, right, bottom in scene.boxes.astype(int):
            outside[top:bottom, left:right] = 0
        assert not outside.any()


def test_sizes_counts_and_occlusion_are_as_said(scenes: list[Scene]) -> None:
    whole = np.concatenate([scene.boxes[scene.hidden == 0] for scene in scenes])
    longest = (whole[:, 2:] - whole[:, :2]).max(1)
    assert longest.min() >= SMALLEST - 1 and longest.max() <= LARGEST
    hidden = np.concatenate([scene.hidden for scene in scenes])
    assert (hidden >= 0.1).mean() >= 0.2 and hidden.max() <= 0.5 + 1e-6
    assert set(np.bincount([len(scene.labels) for scene in scenes]).nonzero()[0]) == set(range(1, 7))


def test_the_same_seed_draws_the_same_scene() -> None:
    first, second = drawn(5), drawn(5)
    assert np.array_equal(first.picture, second.picture) and np.array_equal(first.mask, second.mask)
    assert not np.array_equal(first.picture, drawn(6).picture)


def test_backgrounds_are_pictures() -> None:
    draw, rng = backgrounds(SIDE, 2, 0), np.random.default_rng(0)
    for _ in range(6):
        ground = draw(rng)
        assert ground.shape == (SIDE, SIDE, 3) and ground.dtype == np.float32
        assert ground.min() >= 0 and ground.max() <= 1


def test_resizing_keeps_constants_and_the_mean_of_ramps() -> None:
    ramp = np.linspace(0, 1, 28, dtype=np.float32)[None].repeat(28, 0)
    for size in (5, 28, 48):
        assert np.allclose(resized(np.ones((28, 28), np.float32), size, size), 1, atol=1e-6)
        assert resized(ramp, size, size).mean() == pytest.approx(0.5, abs=1e-3)


def test_hard_scenes_are_small_and_hidden(scenes: list[Scene]) -> None:
    def draw(seed: int) -> Scene:
        rng = np.random.default_rng(seed)
        return draw_scene(objects(), LABELS, lambda rng: two_colours(SIDE, rng), rng, HARD)

    hard = [draw(seed) for seed in range(300)]
    small, usual = (
        np.median(np.concatenate([(scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1) for scene in found]))
        for found in (hard, scenes)
    )
    assert small < usual - 3 and max(scene.hidden.max() for scene in hard) > 0.5
