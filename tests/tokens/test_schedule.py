"""Keep ratios become token counts as in the paper, and nonsense is refused in words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.errors import SettingError
from dynamicvit.tokens.schedule import stage_ratios, tokens_kept


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (0.9, (176, 158, 142)),
        (0.8, (156, 125, 100)),
        (0.7, (137, 96, 67)),
        (0.6, (117, 70, 42)),
        (0.5, (98, 49, 24)),
        (1.0, (196, 196, 196)),
        (0.1, (19, 1, 1)),
    ],
)
def test_196_tokens_are_cut_as_published(ratio, counts):
    assert tokens_kept(196, stage_ratios(ratio, 3)) == counts


def test_powers_are_taken_before_truncation():
    assert tokens_kept(100, stage_ratios(0.7, 2)) == (70, 48)
    assert tokens_kept(100, stage_ratios((0.7, 0.49), 2)) == (70, 49)


@given(ratio=st.floats(0, 1, exclude_min=True), patches=st.integers(1, 5000), stages=st.integers(1, 6))
def test_counts_are_positive_and_never_increase(ratio, patches, stages):
    counts = tokens_kept(patches, stage_ratios(ratio, stages))
    assert all(1 <= count <= patches for count in counts)
    assert list(counts) == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    "ratio", [0, -0.1, 1.0001, math.nan, math.inf, "0.7", None, (0.7,), (0.5, 0.6, 0.4), (0.7, 0.5, 0), (0.7, "a", 0.1)]
)
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
    with pytest.raises(SettingError, match="keep ratio"):
        stage_ratios(ratio, 3)
