"""Numbers of any kind become 8 bits by the range that files of such numbers use."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from dynamicvit.decoding import raster
from dynamicvit.decoding.raster import bands, raster_of_image, raster_of_samples, usual_range


@pytest.mark.parametrize(
    ("numbers", "dtype", "expected"),
    [
        ([0, 3], np.uint8, (0, 255)),
        ([0, 200], np.uint16, (0, 65535)),
        ([0, 200], np.uint32, (0, 255)),
        ([0, 256], np.uint32, (0, 65535)),
        ([0, 65536], np.uint32, (0, 2**32 - 1)),
        ([0, 200], np.int16, (0, 2**15 - 1)),
        ([-(2**14), 2**14 - 1], np.int16, (-(2**15), 2**15 - 1)),
        ([-100, 100], np.int16, (-100, 100)),
        ([0.0, 0.4], np.float32, (0, 1)),
        ([0.0, 1.5], np.float64, (0, 255)),
        ([0.0, 70_000.0], np.float32, (0, 70_000)),
        ([-0.5, 0.5], np.float32, (-0.5, 0.5)),
    ],
)
def test_black_and_white_are_those_of_usual_files(numbers, dtype, expected):
    assert usual_range([np.array([numbers], dtype)]) == expected


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (5000, 3), (raster.BAND_PIXELS * 2, 2)])
def test_bands_cover_every_row_once(size):
    rows = [row for top, bottom in bands(*size) for row in range(top, bottom)]
    assert rows == list(range(size[1]))


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.uint32, np.int8, np.int16, np.int32, np.float32, np.float64]),
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
    ),
    st.booleans(),
)
def test_any_numbers_become_a_picture_that_rises_with_them(numbers, white_is_zero):
    shown = np.asarray(raster_of_samples(numbers, white_is_zero=white_is_zero).rows(0, len(numbers))).astype(int)
    assert shown.shape == numbers.shape
    order = np.argsort(np.nan_to_num(numbers, nan=0, posinf=0, neginf=0).ravel(), kind="stable")
    rises = np.diff(shown.ravel()[order])
    assert (rises <= 0 if white_is_zero else rises >= 0).all()


def test_rows_are_the_same_alone_and_together():
    numbers = np.random.default_rng(0).integers(0, 65536, (20, 7, 4), dtype=np.uint16)
    whole = np.asarray(raster_of_samples(numbers).rows(0, 20))
    parts = [np.asarray(raster_of_samples(numbers).rows(top, top + 5)) for top in range(0, 20, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole, np.rint(numbers[..., [2, 1, 0, 3]] / 257))


def test_an_alpha_of_zero_is_kept_where_it_is_trusted():
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert raster_of_image(clear).rows(0, 4).mode == "RGBA"
    assert raster_of_image(clear, trusts_alpha=False).rows(0, 4).getpixel((0, 0)) == (200, 0, 0)
