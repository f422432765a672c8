"""Merging loses no patch, and joins what is alike."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.models.merging import match, matching_rounds, merge_similar


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def problems(draw):
    live = draw(st.integers(1, 60))
    count = draw(st.integers(1, live))
    seed = draw(st.integers(0, 10_000))
    sizes = torch.randint(1, 9, (2, live), generator=torch.Generator().manual_seed(seed)).double()
    return random(2, live, 5, seed=seed), sizes, count


@settings(deadline=None)
@given(problem=problems())
def test_every_token_goes_into_exactly_one_and_none_stays_empty(problem):
    keys, sizes, count = problem
    merge = merge_similar(keys, sizes, count)
    assert merge.survivors.shape == (2, count)
    assert merge.groups.shape == sizes.shape
    for groups, survivors in zip(merge.groups, merge.survivors, strict=True):
        assert groups.unique().tolist() == list(range(count))
        assert groups[survivors].tolist() == list(range(count))


@settings(deadline=None)
@given(problem=problems())
def test_sizes_and_the_weighted_sum_of_values_stay_the_same(problem):
    keys, sizes, count = problem
    merge = merge_similar(keys, sizes, count)
    values, total = random(*keys.shape, seed=7), merge.total(sizes)
    assert torch.equal(total.sum(1), sizes.sum(1))
    merged = merge.average(values, sizes) * total.unsqueeze(-1)
    torch.testing.assert_close(merged.sum(1), (values * sizes.unsqueeze(-1)).sum(1))


def test_keeping_all_changes_nothing():
    merge = merge_similar(random(2, 7, 3), torch.ones(2, 7), 7)
    assert merge.groups.tolist() == merge.survivors.tolist() == [list(range(7))] * 2


def test_the_most_similar_pair_across_the_two_sets_goes_first():
    east, north, west = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
    nearly_east = (3.0, 0.1)  # another length: only the direction counts
    keys = torch.tensor([[east, north, west, nearly_east]])  # first set: east, west; second: north, nearly east
    merge = match(keys, 3)
    assert merge.groups.tolist() == [[2, 1, 0, 2]]
    assert merge.survivors.tolist() == [[2, 1, 3]]
    averages = merge.average(torch.tensor([[[1.0], [2.0], [3.0], [7.0]]]), torch.tensor([[1.0, 1.0, 1.0, 2.0]]))
    assert averages.tolist() == [[[3.0], [2.0], [5.0]]]


def test_several_may_go_into_one():
    keys = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [-1.0, 0.0]]])
    assert match(keys, 2).groups.tolist() == [[0, 0, 0, 1]]


def test_a_round_removes_half_at_most():
    assert list(matching_rounds(196, 67)) == [(196, 98), (98, 67)]
    assert list(matching_rounds(7, 1)) == [(7, 4), (4, 2), (2, 1)]
    assert list(matching_rounds(5, 5)) == []


def test_later_rounds_compare_averages():
    # 0 and 1 are alike, and so are 2 and 3; their averages then go together though 1 and 2 differ.
    keys = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]]])
    assert merge_similar(keys, torch.ones(1, 6), 3).groups.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert merge_similar(keys, torch.ones(1, 6), 2).groups[0].unique(return_counts=True)[1].tolist() == [2, 4]


@pytest.mark.parametrize("count", [2, 6])
def test_pictures_do_not_look_at_each_other(count):
    keys = random(3, 9, 4)
    together = merge_similar(keys, torch.ones(3, 9), count).groups[1]
    assert torch.equal(together, merge_similar(keys[1:2], torch.ones(1, 9), count).groups[0])
