"""Small images, weights and models to train on."""

import io
import tarfile

import numpy as np
import torch
from PIL import Image

from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights.io import save_model

TINY = ModelConfig(
    image_size=32, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=2, prune_locations=(1, 2, 3)
)
# The same description on the command line.
TINY_OPTIONS = [
    *["--model", "dynamicvit_deit_small_patch16_224", "--classes", "2", "--set", "image_size=32", "patch_size=8"],
    *["embed_dim=32", "depth=4", "num_heads=2", "prune_locations=1,2,3"],
]


def picture_bytes(kind, seed):
    """A dark noisy image with a blue (kind 0) or red (kind 1) square, as a PNG file."""
    random = np.random.default_rng((kind, seed))
    pixels = random.integers(0, 60, (40, 40, 3), dtype=np.uint8)
    pixels[10:30, 10:30, 2 - 2 * kind] += 190
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_folder(folder, count=8):
    """Two classes in sub-folders, ``count`` images each."""
    for kind, name in enumerate(("blue", "red")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(picture_bytes(kind, index))
    return folder


def write_tar(path, count=8):
    """``count`` images without labels."""
    with tarfile.open(path, "w") as tar:
        for index in range(count):
            data = picture_bytes(index % 2, index)
            entry = tarfile.TarInfo(f"{index}.png")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def write_dense_weights(path, seed=0, **changes):
    """Weights of the dense tiny model."""
    torch.manual_seed(seed)
    save_model(create_model(TINY, prune_locations=(), **changes), path)
    return path
