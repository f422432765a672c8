"""Which kept patches are most like a patch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.analysis.alike import most_alike
from dynamicvit.analysis.prepared import PreparedImage
from dynamicvit.analysis.results import StageView
from dynamicvit.models.registry import create_model

# Four directions at 0, 10, 50 and 90 degrees; lengths do not matter.
DEGREES = torch.tensor([0.0, 10.0, 50.0, 90.0]).deg2rad()
TOKENS = torch.stack([DEGREES.cos(), DEGREES.sin()], dim=1) * torch.tensor([[1.0], [9.0], [0.1], [3.0]])


def stage(number, kept, has_fast_path=False):
    return StageView(number, number, 4, tuple(kept), (0.5,) * 4, has_fast_path=has_fast_path)


def test_a_dropped_patch_is_compared_with_those_that_its_stage_kept():
    alike = most_alike(TOKENS, [stage(1, [0, 2, 3]), stage(2, [0, 3])])
    assert alike[1] == (0, 2, 3)  # dropped at stage 1
    assert alike[2] == (3, 0)  # dropped at stage 2


def test_a_patch_that_stays_is_compared_with_the_others_that_stay():
    alike = most_alike(TOKENS, [stage(1, [0, 1, 2, 3]), stage(2, [0, 1, 3])])
    assert (alike[0], alike[1], alike[3]) == ((1, 3), (0, 3), (1, 0))


def test_the_last_one_that_stays_has_no_other_beside_it():
    assert most_alike(TOKENS, [stage(1, [2])], count=2) == ((2,), (2,), (), (2,))


def test_where_patches_may_come_back_the_last_stage_decides():
    alike = most_alike(TOKENS, [stage(1, [0], True), stage(2, [1, 3], True)])
    assert alike == ((1, 3), (3,), (1, 3), (1,))


@given(st.data())
def test_nobody_is_like_itself_or_like_a_dropped_patch(data):
    first = data.draw(st.sets(st.integers(0, 3), min_size=1))
    last = data.draw(st.sets(st.sampled_from(sorted(first)), min_size=1))
    for patch, others in enumerate(most_alike(TOKENS, [stage(1, first), stage(2, last)])):
        assert patch not in others
        assert set(others) <= (first if patch not in first else last)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (
            "dynamicvit_deit_small_patch16_224",
            {"depth": 4, "embed_dim": 32, "num_heads": 2, "prune_locations": (1, 2, 3)},
        ),
        ("dynamicvit_convnext_tiny", {"depths": (1, 1, 3, 1), "prune_locations": (0,)}),
    ],
)
def test_every_patch_of_an_image_has_some(name, changes):
    prepared = PreparedImage(create_model(name, **changes).eval(), np.zeros((60, 60, 3), np.uint8))
    analysis = prepared.analyze(0.5)
    alike = prepared.most_alike(analysis)
    assert len(alike) == analysis.num_patches
    assert {len(others) for others in alike} == {3}
