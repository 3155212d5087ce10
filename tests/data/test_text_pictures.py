"""Pictures of text are the same for the same seed, of the size asked for, and show something."""

import numpy as np
import pytest

from genq_export.data.text_pictures import pictures


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 320), (20, 90)])
def test_a_seed_is_a_picture(height: int, width: int) -> None:
    first, again = pictures(height, width, range(6)), pictures(height, width, range(6))
    assert first.shape == (6, height, width, 3) and first.dtype == np.uint8 and np.array_equal(first, again)
    assert len({picture.tobytes() for picture in first}) == 6
    assert all(np.ptp(picture.astype(int).mean(2)) > 60 for picture in first)


def test_a_wide_picture_is_filled_with_a_line() -> None:
    """Letters reach over most of the height, where words of a square one are small."""
    plain = [picture for picture in pictures(48, 320, range(20)) if _on_one_colour(picture)]
    assert plain
    for picture in plain:
        ink = (picture != picture[0, -1]).any(2)
        assert np.ptp(np.flatnonzero(ink.any(1))) > 12


def _on_one_colour(picture: np.ndarray) -> bool:
    return len(np.unique(picture[:3].reshape(-1, 3), axis=0)) == 1
