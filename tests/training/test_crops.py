"""Training images: every photo as often as it should come, crops as promised, mixtures with their partners."""

import numpy as np
import pytest
import torch
from image_files import encode, png_that_claims
from PIL import Image
from training.examples import picture_bytes

from dynamicvit.datasets import Photo
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.models.config import HALF, Preprocessing
from dynamicvit.training.crops import Augmentation, BatchPlan, Crop, DeviceCrops, Mixing, WorkerCrops, local_positions

PAPER = Augmentation(0.08, "rand-m9-mstd0.5-inc1", 0.4, 0.25)


def crops(*contents, augmentation=PAPER):
    photos = [Photo(f"{index}.png", data, index) for index, data in enumerate(contents)]
    labels = [photo.label for photo in photos]
    return WorkerCrops(photos, labels, augmentation, Preprocessing(mean=HALF, std=HALF), seed=0)


def plan(**changes):
    settings = {"sources": (10,), "batch": 4, "steps": 6, "sizes": (32, 32), "patch_size": 8, "seed": 0}
    settings |= changes
    return BatchPlan(**({"repeats": (1.0,) * len(settings["sources"])} | settings))


def test_an_epoch_has_every_photo_at_most_once_and_the_next_another_order():
    epochs = [[crop.photo for step in steps for crop in plan().crops(step)] for steps in ((0, 1), (2, 3))]
    assert all(len(set(photos)) == 8 for photos in epochs)
    assert epochs[0] != epochs[1]
    draws = [crop.draw for step in range(6) for crop in plan().crops(step)]
    assert len(set(draws)) == 24  # no crop is drawn twice


def test_sources_come_as_often_as_they_are_told_to():
    weighted = plan(sources=(4, 6), repeats=(2.0, 0.5), batch=11)
    assert weighted.steps_per_epoch == 1
    epochs = [[crop.photo for crop in weighted.crops(step)] for step in range(4)]
    for photos in epochs:
        assert all(photos.count(photo) == 2 for photo in range(4))
        assert sorted(photos.count(photo) for photo in range(4, 10)) == [0, 0, 0, 1, 1, 1]
    assert len({frozenset(photos) for photos in epochs}) > 1  # another half each time


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


def test_a_run_that_goes_on_gets_the_batches_that_were_left():
    data = crops(*(picture_bytes(0, index) for index in range(10)))
    everything = [images for images, _ in data.samples(plan(), [0, 3])]
    left = [images for images, _ in data.samples(plan(), [0, 3], 4)]
    assert len(everything) == 6
    assert all(torch.equal(a, b) for a, b in zip(everything[4:], left, strict=True))


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(SettingError, match="fewer than a batch of 16"):
        plan(batch=16)
    with pytest.raises(SettingError, match="patch size, 8"):
        plan(sizes=(20, 32))
    with pytest.raises(SettingError, match="multiple of twice"):
        local_positions(6, 0, 2)


def test_crops_are_normalised_pictures_of_the_asked_size():
    white = np.full((60, 90), 255, np.uint8)
    image, label = crops(encode(white), augmentation=Augmentation())[Crop(0, 0, 32)]
    assert torch.allclose(image, torch.ones(3, 32, 32))
    assert label == 0


def test_a_crop_depends_on_its_photo_and_draw_alone():
    data = crops(*(picture_bytes(0, index) for index in range(2)))
    torch.manual_seed(1)
    first = data[Crop(0, 3, 32)][0]
    data[Crop(1, 5, 32)]
    assert torch.equal(data[Crop(0, 3, 32)][0], first)
    assert not torch.equal(data[Crop(0, 4, 32)][0], first)


class TestPhotosAreDecodedAsTheModelWillSeeThem:
    """In training as in use: what the model learns from is what :func:`decode` gives."""

    def test_transparent_pixels_are_white_and_not_their_hidden_colour(self):
        hidden_red = np.zeros((40, 40, 4), np.uint8)
        hidden_red[..., 0] = 255
        image, _ = crops(encode(hidden_red), augmentation=Augmentation())[Crop(0, 0, 32)]
        assert torch.allclose(image, torch.ones(3, 32, 32))

    def test_a_photo_of_a_turned_camera_is_upright(self):
        sideways = np.zeros((60, 40, 3), np.uint8)
        sideways[:, :20] = 255  # white on the left is white at the top when the camera was turned
        exif = Image.Exif()
        exif[0x0112] = 6
        whole = Augmentation(smallest_crop=1.0)
        image = crops(encode(sideways, exif=exif), augmentation=whole)[Crop(0, 0, 32)][0]
        assert image[:, :8].mean() > 0.9
        assert image[:, -8:].mean() < -0.9

    def test_a_decompression_bomb_is_refused_by_name(self):
        with pytest.raises(ImageError, match=r"0\.png cannot be read.*scale it down"):
            crops(png_that_claims(60_000, 60_000))[Crop(0, 0, 32)]


def test_a_photo_that_is_none_is_named():
    with pytest.raises(ImageError, match=r"0\.png cannot be read"):
        crops(b"not an image")[Crop(0, 0, 32)]


class TestCropsOnTheDevice:
    """Made in batches from photos that were decoded once."""

    def test_photos_are_decoded_by_the_one_decoder_and_squared(self):
        hidden_red = np.zeros((40, 80, 4), np.uint8)
        hidden_red[..., 0] = 255
        data = on_device(encode(hidden_red), encode(np.full((50, 40, 3), 9, np.uint8)))
        assert data.photos.shape == (2, 3, 37, 37)
        assert (data.photos[0] == 255).all()
        assert (data.photos[1] == 9).all()
        assert data.aspects.tolist() == pytest.approx([2.0, 0.8])

    def test_a_photo_that_is_none_is_named(self):
        with pytest.raises(ImageError, match=r"1\.png cannot be read; repair or remove it"):
            on_device(picture_bytes(0, 0), b"not an image")

    def test_crops_are_windows_of_the_photo_and_half_of_them_are_mirrored(self):
        data = on_device(encode(gradient(60, 120)))
        images = torch.cat([images for images, _ in data.samples(plan(sources=(1,), batch=1, steps=40), [0])])
        assert images.shape == (40, 3, 32, 32)
        columns = images.mean(dim=(1, 2))
        assert (images.std(dim=2).amax() < 0.02).item()  # a horizontal gradient is constant in every column
        rising = columns[:, 24] > columns[:, 8]
        assert 10 < rising.sum() < 30
        upright = torch.where(rising[:, None], columns, columns.flip(1))
        assert (upright[:, 4:].diff(dim=1)[:, :-4] > 0).all()
        # Of a photo twice as wide as high, at least a fifth of whose area is shown.
        spans = (upright[:, -4] - upright[:, 3]) / 2 * 32 / 25
        assert 0.15 < spans.min() < 0.4
        assert spans.max() > 0.5

    def test_the_whole_of_a_square_photo_is_the_photo(self):
        data = on_device(encode(gradient(37, 37)), smallest_crop=1.0)
        [(images, _)] = data.samples(plan(sources=(1,), batch=1, steps=1), [0])
        expected = torch.linspace(-1, 1, 32)
        column = images[0].mean(dim=(0, 1))
        error = min((column - expected).abs().max(), (column.flip(0) - expected).abs().max())
        assert error < 0.3  # the ratio of the sides may still cut off an eighth

    def test_a_run_that_goes_on_gets_the_crops_that_were_left(self):
        data = on_device(*(picture_bytes(index % 2, index) for index in range(10)), jitter=0.4)
        everything = list(data.samples(plan(), range(4)))
        left = list(data.samples(plan(), range(4), 4))
        assert len(left) == 2
        for (images, labels), (later_images, later_labels) in zip(everything[4:], left, strict=True):
            assert torch.equal(images, later_images)
            assert torch.equal(labels, later_labels)
        assert not torch.equal(everything[0][0], everything[1][0])

    def test_the_processes_crops_are_those_of_one_process(self):
        data = on_device(*(picture_bytes(index % 2, index) for index in range(10)))
        [whole, *_] = [images for images, _ in data.samples(plan(), range(4))]
        for rank in range(2):
            own = local_positions(4, rank, 2)
            [part, *_] = [images for images, _ in data.samples(plan(), own)]
            torch.testing.assert_close(part, whole[own])

    def test_labels_are_those_of_the_photos(self):
        data = on_device(*(encode(np.full((40, 40, 3), 20 * index, np.uint8)) for index in range(10)))
        for images, labels in data.samples(plan(), range(4)):
            shown = ((images.mean(dim=(1, 2, 3)) + 1) / 2 * 255 / 20).round()
            assert torch.equal(shown.long(), labels)


def on_device(*contents, smallest_crop=0.2, jitter=0.0):
    photos = [Photo(f"{index}.png", data, index) for index, data in enumerate(contents)]
    changes = Augmentation(smallest_crop, color_jitter=jitter)
    half = Preprocessing(mean=HALF, std=HALF)
    labels = range(len(photos))
    return DeviceCrops.decode(photos, labels, changes, half, seed=0, size=32, workers=0, device=torch.device("cpu"))


def gradient(height, width):
    """Black at the left, white at the right."""
    row = np.linspace(0, 255, width).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def mixed(images, batch, positions, step=0, **shares):
    labels = torch.zeros(len(images), dtype=torch.long)
    return Mixing(**shares).mix(images, labels, 2, batch, positions, seed=0, step=step)[0]


def test_pasting_changes_about_the_asked_share_and_only_inside_a_rectangle():
    images = torch.arange(200.0).reshape(200, 1, 1, 1).expand(200, 3, 16, 16).contiguous()
    after = mixed(images, 200, range(200), paste=0.5)
    changed = (after != images).flatten(1).any(1)
    assert 0.35 < changed.float().mean() < 0.65
    for index in changed.nonzero().flatten().tolist():
        assert set(after[index].round(decimals=3).unique().tolist()) <= {float(index), 199.0 - index}
        inside = (after[index, 0] - index).abs() > 1e-3
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        assert inside.sum() == len(rows) * len(columns)
        assert len(rows) == rows[-1] - rows[0] + 1


def test_blending_lets_at_most_half_of_the_partner_shine_through():
    images = torch.arange(200.0).reshape(200, 1, 1, 1).expand(200, 3, 4, 4).contiguous()
    after = mixed(images, 200, range(200), blend=0.5)
    shares = ((after - images) / (images.flip(0) - images))[:, 0, 0, 0]
    assert (after == after[:, :1, :1, :1]).all()
    assert 0.35 < (shares > 0).float().mean() < 0.65
    assert shares.max() <= 0.5


def test_mixing_nothing_leaves_the_batch_and_gives_smoothed_labels():
    images = torch.randn(4, 3, 8, 8)
    mixed, targets = Mixing(smoothing=0.2).mix(images, torch.tensor([0, 1, 2, 3]), 4, 4, range(4), seed=0, step=0)
    assert torch.equal(mixed, images)
    torch.testing.assert_close(targets, torch.full((4, 4), 0.05) + 0.8 * torch.eye(4))


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.8), Mixing(cutmix=1.0), Mixing(0.8, 1.0, 0.5, 0.1, 0.5, 0.3)])
def test_processes_mix_as_one_process_does(mixing):
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8)
    whole, targets = mixing.mix(images, labels, 8, 8, range(8), seed=0, step=3)
    assert not torch.equal(whole, images)
    for rank in range(2):
        own = local_positions(8, rank, 2)
        part, part_targets = mixing.mix(images[own], labels[own], 8, 8, own, seed=0, step=3)
        torch.testing.assert_close(part, whole[own])
        torch.testing.assert_close(part_targets, targets[own])


def test_mixed_labels_are_probabilities():
    _, targets = Mixing(0.8, 1.0, 0.5, 0.1).mix(
        torch.randn(8, 3, 16, 16), torch.arange(8), 8, 8, range(8), seed=0, step=1
    )
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
