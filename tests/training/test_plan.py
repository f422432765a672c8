"""Every photo once an epoch, whatever the number of processes and wherever the run goes on."""

import pytest

from dynamicvit.errors import SettingError
from dynamicvit.training.plan import BatchPlan, LocalBatches, local_positions


def plan(**changes):
    settings = {"photos": 10, "batch": 4, "steps": 6, "sizes": (32, 32), "patch_size": 8, "seed": 0}
    return BatchPlan(**(settings | changes))


def test_an_epoch_has_every_photo_at_most_once_and_the_next_another_order():
    epochs = [[crop.photo for step in steps for crop in plan().crops(step)] for steps in ((0, 1), (2, 3))]
    assert all(len(set(photos)) == 8 for photos in epochs)
    assert epochs[0] != epochs[1]
    assert {crop.draw for crop in plan().crops(2)} == {1}


def test_fixed_crops_take_turns():
    draws = [plan(fixed_crops=2, steps=12).crops(step)[0].draw for step in range(12)]
    assert draws == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1]


def test_the_size_grows_by_patches_from_the_first_to_the_last():
    sizes = [plan(sizes=(16, 32), steps=9).image_size(step) for step in range(9)]
    assert sizes == [16, 16, 16, 24, 24, 24, 32, 32, 32]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_processes_share_a_batch_and_partners_stay_together(processes):
    parts = [local_positions(16, rank, processes) for rank in range(processes)]
    assert sorted(place for part in parts for place in part) == list(range(16))
    for part in parts:
        assert part == [15 - place for place in reversed(part)]
    assert local_positions(16, 0, 1) == list(range(16))


def test_going_on_gives_the_batches_that_were_left():
    positions = local_positions(4, 0, 2)
    everything = list(LocalBatches(plan(), positions))
    assert list(LocalBatches(plan(), positions, 4)) == everything[4:]
    assert len(LocalBatches(plan(), positions, 4)) == 2


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(SettingError, match="fewer than a batch of 16"):
        plan(batch=16)
    with pytest.raises(SettingError, match="patch size, 8"):
        plan(sizes=(20, 32))
    with pytest.raises(SettingError, match="multiple of twice"):
        local_positions(6, 0, 2)
