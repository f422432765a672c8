"""Training pictures have the promised shape, range and randomness, and mix with their partners."""

import numpy as np
import pytest
import torch
from image_files import encode, png_that_claims
from PIL import Image
from training.examples import picture_bytes

from dynamicvit.datasets import Photo
from dynamicvit.errors import ImageError
from dynamicvit.models.config import HALF, Preprocessing
from dynamicvit.training.augment import Augmentation, Mixing, TrainingCrops, paste_rectangles
from dynamicvit.training.plan import Crop, local_positions

PAPER = Augmentation(0.08, "rand-m9-mstd0.5-inc1", 0.4, 0.25)


def crops(*contents, augmentation=PAPER):
    photos = [Photo(f"{index}.png", data, index) for index, data in enumerate(contents)]
    labels = [photo.label for photo in photos]
    return TrainingCrops(photos, labels, augmentation, Preprocessing(mean=HALF, std=HALF), seed=0)


def test_crops_are_normalised_pictures_of_the_asked_size():
    white = np.full((60, 90), 255, np.uint8)
    sample = crops(encode(white), augmentation=Augmentation())[Crop(0, 0, 32)]
    assert torch.allclose(sample["image"], torch.ones(3, 32, 32))
    assert sample["label"] == 0


def test_a_crop_depends_on_its_photo_and_draw_alone():
    data = crops(*(picture_bytes(0, index) for index in range(2)))
    torch.manual_seed(1)
    first = data[Crop(0, 3, 32)]["image"]
    data[Crop(1, 5, 32)]
    assert torch.equal(data[Crop(0, 3, 32)]["image"], first)
    assert not torch.equal(data[Crop(0, 4, 32)]["image"], first)


class TestPhotosAreDecodedAsTheModelWillSeeThem:
    """In training as in use: what the model learns from is what :func:`decode` gives."""

    def test_transparent_pixels_are_white_and_not_their_hidden_colour(self):
        hidden_red = np.zeros((40, 40, 4), np.uint8)
        hidden_red[..., 0] = 255
        sample = crops(encode(hidden_red), augmentation=Augmentation())[Crop(0, 0, 32)]
        assert torch.allclose(sample["image"], torch.ones(3, 32, 32))

    def test_a_photo_of_a_turned_camera_is_upright(self):
        sideways = np.zeros((60, 40, 3), np.uint8)
        sideways[:, :20] = 255  # white on the left is white at the top when the camera was turned
        exif = Image.Exif()
        exif[0x0112] = 6
        whole = Augmentation(smallest_crop=1.0)
        image = crops(encode(sideways, exif=exif), augmentation=whole)[Crop(0, 0, 32)]["image"]
        assert image[:, :8].mean() > 0.9
        assert image[:, -8:].mean() < -0.9

    def test_a_decompression_bomb_is_refused_by_name(self):
        with pytest.raises(ImageError, match=r"0\.png cannot be read.*scale it down"):
            crops(png_that_claims(60_000, 60_000))[Crop(0, 0, 32)]


def test_a_photo_that_is_none_is_named():
    with pytest.raises(ImageError, match=r"0\.png cannot be read"):
        crops(b"not a picture")[Crop(0, 0, 32)]


def test_pasting_changes_about_the_asked_share_and_only_inside_a_rectangle():
    images = torch.arange(200.0).reshape(200, 1, 1, 1).expand(200, 3, 16, 16).contiguous()
    mixed = paste_rectangles(images, 0.5, range(200), seed=0, step=0)
    changed = (mixed != images).flatten(1).any(1)
    assert 0.35 < changed.float().mean() < 0.65
    for index in changed.nonzero().flatten().tolist():
        assert set(mixed[index].unique().tolist()) <= {float(index), 199.0 - index}


def test_mixing_nothing_leaves_the_batch_and_gives_smoothed_labels():
    images = torch.randn(4, 3, 8, 8)
    mixed, targets = Mixing(smoothing=0.2).mix(images, torch.tensor([0, 1, 2, 3]), 4, range(4), 0, 0)
    assert torch.equal(mixed, images)
    torch.testing.assert_close(targets, torch.full((4, 4), 0.05) + 0.8 * torch.eye(4))


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.8), Mixing(cutmix=1.0), Mixing(0.8, 1.0, 0.5, 0.1, 0.5)])
def test_processes_mix_as_one_process_does(mixing):
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8)
    whole, targets = mixing.mix(images, labels, 8, range(8), 0, 3)
    assert not torch.equal(whole, images)
    for rank in range(2):
        own = local_positions(8, rank, 2)
        part, part_targets = mixing.mix(images[own], labels[own], 8, own, 0, 3)
        torch.testing.assert_close(part, whole[own])
        torch.testing.assert_close(part_targets, targets[own])


def test_mixed_labels_are_probabilities():
    _, targets = Mixing(0.8, 1.0, 0.5, 0.1).mix(torch.randn(8, 3, 16, 16), torch.arange(8), 8, range(8), 0, 1)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
