import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.figures.overlay import fade_dropped


def all_levels() -> np.ndarray:
    return np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)


def test_dropped_pixels_are_blended_as_in_the_authors_notebook():
    levels = all_levels()
    expected = (0.2 * levels + 0.8 * 255).astype(np.uint8)
    np.testing.assert_array_equal(fade_dropped(levels, [], (2, 2)), expected)


def test_kept_patches_are_untouched_and_dropped_ones_are_not():
    levels = all_levels()
    faded = fade_dropped(levels, (1, 2), (2, 2))
    np.testing.assert_array_equal(faded[:8, 8:], levels[:8, 8:])
    np.testing.assert_array_equal(faded[8:, :8], levels[8:, :8])
    assert (faded[:8, :8] > levels[:8, :8]).all()
    assert (faded[8:, 8:12] > levels[8:, 8:12]).all()


def test_patches_are_numbered_along_the_rows():
    faded = fade_dropped(np.zeros((2, 3, 3), np.uint8), [4], (2, 3))
    assert (faded[..., 0] == 0).tolist() == [[False, False, False], [False, True, False]]


@pytest.mark.parametrize(("strength", "value"), [(0.0, 100), (0.5, 177), (1.0, 255)])
def test_strength_leads_from_untouched_to_white(strength, value):
    faded = fade_dropped(np.full((4, 4, 3), 100, np.uint8), [], (2, 2), strength)
    assert (faded == value).all()


def test_the_given_picture_is_not_changed():
    picture = np.zeros((4, 4, 3), np.uint8)
    fade_dropped(picture, [0], (2, 2))
    assert (picture == 0).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rows=st.integers(1, 9), columns=st.integers(1, 9), size=st.integers(9, 70))
def test_at_any_picture_size_a_pixel_follows_the_patch_under_its_centre(data, rows, columns, size):
    kept = data.draw(st.sets(st.integers(0, rows * columns - 1)))
    faded = fade_dropped(np.zeros((size, size, 3), np.uint8), tuple(kept), (rows, columns))
    assert faded.shape == (size, size, 3)
    centres = np.arange(size) + 0.5
    for y, row in zip(range(size), centres * rows / size, strict=True):
        for x, column in zip(range(size), centres * columns / size, strict=True):
            if min(abs(row - round(row)) * size / rows, abs(column - round(column)) * size / columns) > 1e-6:
                patch = int(row) * columns + int(column)
                assert faded[y, x, 0] == (0 if patch in kept else 204)
