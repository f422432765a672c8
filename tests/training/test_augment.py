"""Training pictures have the promised shape, range and randomness."""

import io

import torch
from PIL import Image

from dynamicvit.models.config import HALF, Preprocessing
from dynamicvit.photos import Photo
from dynamicvit.training.augment import RandomCrops, mix_pictures


def test_crops_are_normalised_pictures_of_the_asked_size():
    stream = io.BytesIO()
    Image.new("L", (90, 60), 255).save(stream, "PNG")
    crops = RandomCrops([Photo("white", stream.getvalue(), None)], 32, Preprocessing(mean=HALF, std=HALF))
    assert torch.allclose(crops[0], torch.ones(3, 32, 32))


def test_mixing_changes_about_the_asked_share_and_only_inside_a_rectangle():
    generator = torch.Generator().manual_seed(0)
    images = torch.arange(200.0).reshape(200, 1, 1, 1).expand(200, 3, 16, 16).contiguous()
    mixed = mix_pictures(images, 0.5, generator)
    changed = (mixed != images).flatten(1).any(1)
    assert 0.35 < changed.float().mean() < 0.65
    for picture in mixed[changed]:
        assert len(picture.unique()) <= 2


def test_mixing_nothing_leaves_the_batch_as_it_is():
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(mix_pictures(images, 0.0), images)
