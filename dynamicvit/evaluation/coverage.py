"""Do the kept tokens lie on the labelled objects, more than by chance and more than the middle of the image?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynamicvit.datasets import Batch, Photo, Share, read_batches
from dynamicvit.errors import ImageError
from dynamicvit.evaluation.accuracy import EvaluationSetting
from dynamicvit.images import CropBox
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.selectors import create_selector

# Where boxes fill less or more of the crop, the share inside them says little about the choice of tokens.
BOXES_FILL = (0.05, 0.6)
_SIZE_TOLERANCE = 0.02


@dataclass(frozen=True)
class SceneBoxes:
    """The labelled objects of a scene.

    Attributes:
        size: width and height of the image that the boxes were drawn on, in pixels.
        boxes: left, top, right, bottom of each object in pixels of that image.
    """

    size: tuple[float, float]
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Coverage:
    """How much of what the last stage kept lies on objects, as sums that add up over parts of the scenes.

    Attributes:
        setting: how the model was run.
        scenes: number of scenes whose boxes fill a sensible part of the crop.
        kept_sum: sum over the scenes of the share of kept patches whose centres lie inside a box.
        centre_sum: the same for as many patches nearest to the crop's centre.
        chance_sum: the same for all patches, which is what a random choice reaches on average.
    """

    setting: EvaluationSetting
    scenes: int = 0
    kept_sum: float = 0.0
    centre_sum: float = 0.0
    chance_sum: float = 0.0

    def __add__(self, other: Coverage) -> Coverage:
        """Join two parts of the scenes, for the same setting."""
        return Coverage(
            self.setting,
            self.scenes + other.scenes,
            self.kept_sum + other.kept_sum,
            self.centre_sum + other.centre_sum,
            self.chance_sum + other.chance_sum,
        )

    @property
    def kept(self) -> float:
        """Mean share of the kept patches that lie inside boxes, in [0, 1]; not a number without scenes."""
        return self._mean(self.kept_sum)

    @property
    def centre(self) -> float:
        """Mean share of as many central patches that lie inside boxes."""
        return self._mean(self.centre_sum)

    @property
    def chance(self) -> float:
        """Mean share of all patches that lie inside boxes."""
        return self._mean(self.chance_sum)

    def _mean(self, total: float) -> float:
        return total / self.scenes if self.scenes else float("nan")


def read_boxes(path: Path) -> dict[str, SceneBoxes]:
    """Return photo name -> boxes from JSON: ``{name: {"size": [w, h], "objects": [{"box": [l, t, r, b]}, ...]}}``.

    Raises:
        ImageError: the file is missing or is not of that form.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: _scene_boxes(entry) for name, entry in entries.items()}
    except OSError as error:
        raise ImageError(f"Cannot read boxes from {path}: {error.strerror or error}.") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ImageError(
            f'Cannot read boxes from {path}: it needs {{name: {{"size": [w, h], "objects": [{{"box": '
            f"[left, top, right, bottom]}}, ...]}}}} for each photo."
        ) from error


def measure_coverage(
    model: DynamicModel,
    photos: Sequence[Photo],
    boxes: dict[str, SceneBoxes],
    settings: Sequence[EvaluationSetting],
    batch: int = 25,
    *,
    share: Share | None = None,
    workers: int = 0,
    on_batch: Callable[[int], object] | None = None,
) -> list[Coverage]:
    """Compare the patches that the last stage keeps with the boxes; photos without boxes or unreadable are left out.

    Args:
        settings: pruned ones only.
        batch, share, workers, on_batch: as in :func:`~dynamicvit.evaluation.accuracy.evaluate`.

    Raises:
        ImageError: the boxes of a photo were drawn on an image of other proportions.
    """
    scenes = [photo for photo in photos if photo.name in boxes]
    results = [Coverage(setting) for setting in settings]
    for some in read_batches(scenes, model.config, batch, share=share, workers=workers):
        if some.photos:
            inside = _inside_boxes(some, boxes, model.config.image_size // model.config.patch_size)
            parts = [_cover(model, some.images, inside, setting) for setting in settings]
            results = [result + part for result, part in zip(results, parts, strict=True)]
        if on_batch is not None:
            on_batch(len(some.photos) + len(some.unreadable))
    return results


def patches_inside(boxes: Tensor, crop: CropBox, side: int) -> Tensor:
    """Say of each of the ``side`` x ``side`` patches of a crop whether its centre lies in a box: (side * side,) bool.

    Args:
        boxes: (K, 4) left, top, right, bottom, in the pixels in which the crop is given.
    """
    middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    x = crop.left + middles * (crop.right - crop.left)
    y = crop.top + middles * (crop.bottom - crop.top)
    left, top, right, bottom = boxes.double()[..., None].unbind(1)
    columns, rows = (left <= x) & (x <= right), (top <= y) & (y <= bottom)
    return (rows[:, :, None] & columns[:, None, :]).any(dim=0).flatten()


def central_patches(side: int) -> Tensor:
    """Return the patches of a square grid, the nearest to its centre first; equally near ones row by row."""
    offsets = (2 * torch.arange(side) - (side - 1)) ** 2
    return (offsets[:, None] + offsets[None, :]).flatten().argsort(stable=True)


@torch.inference_mode()
def _cover(model: DynamicModel, images: Tensor, inside: Tensor, setting: EvaluationSetting) -> Coverage:
    selector = create_selector(setting.selector, seed=setting.seed)
    output = model.forward_stages(images.to(model.device), setting.keep_ratio, selector).checked()
    kept = output.stages[-1].kept_patches.cpu()
    hits = inside.double()
    chance = hits.mean(dim=1)
    fits = (chance >= BOXES_FILL[0]) & (chance <= BOXES_FILL[1])
    central = central_patches(output.grid[0])[: kept.shape[1]]
    return Coverage(
        setting,
        int(fits.sum()),
        float(hits.gather(1, kept).mean(dim=1)[fits].sum()),
        float(hits[:, central].mean(dim=1)[fits].sum()),
        float(chance[fits].sum()),
    )


def _inside_boxes(batch: Batch, boxes: dict[str, SceneBoxes], side: int) -> Tensor:
    """Return (B, side * side) bool: whose patches' centres lie inside boxes."""
    return torch.stack(
        [
            patches_inside(_scaled_boxes(photo.name, boxes[photo.name], size), crop, side)
            for photo, size, crop in zip(batch.photos, batch.sizes, batch.crops, strict=True)
        ]
    )


def _scaled_boxes(name: str, scene: SceneBoxes, size: tuple[int, int]) -> Tensor:
    """Return the boxes in pixels of the decoded image, which is smaller than the stored one if that is very large."""
    x_scale, y_scale = size[0] / scene.size[0], size[1] / scene.size[1]
    if abs(x_scale / y_scale - 1) > _SIZE_TOLERANCE:
        drawn_on = f"{scene.size[0]:g} x {scene.size[1]:g}"
        raise ImageError(f"The boxes of {name} are for {drawn_on} pixels, but it has {size[0]} x {size[1]}.")
    scale = torch.tensor([x_scale, y_scale, x_scale, y_scale], dtype=torch.float64)
    return torch.tensor(scene.boxes, dtype=torch.float64).reshape(-1, 4) * scale


def _scene_boxes(entry: dict[str, Any]) -> SceneBoxes:
    width, height = (float(value) for value in entry["size"])
    if min(width, height) <= 0:
        raise ValueError("sizes are positive")
    return SceneBoxes((width, height), tuple(_box(item["box"]) for item in entry["objects"]))


def _box(sides: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(side) for side in sides)
    return left, top, right, bottom
