"""How often a model is right on labelled photos, dense and at several keep ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynamicvit.errors import SettingError
from dynamicvit.images import decode, prepare
from dynamicvit.macs import MacCounter
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import DynamicVisionTransformer
from dynamicvit.photos import Photo
from dynamicvit.tokens.selectors import create_selector


@dataclass(frozen=True)
class EvaluationSetting:
    """One way to run the model; a keep ratio of None is dense."""

    keep_ratio: float | None
    selector: str = "predictor"
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """How the model did in one setting.

    Attributes:
        setting: how it was run.
        photos: number of labelled photos.
        top1, top5: share of them whose class was the best guess, or among the best five, in [0, 1].
        gmacs: 10^9 multiply-adds for one photo.
    """

    setting: EvaluationSetting
    photos: int
    top1: float
    top5: float
    gmacs: float


@torch.inference_mode()
def evaluate(
    model: DynamicVisionTransformer, photos: Sequence[Photo], settings: Sequence[EvaluationSetting], batch: int = 25
) -> list[Evaluation]:
    """Classify every labelled photo in every setting.

    Raises:
        SettingError: no photo has a label, or a setting does not fit the model.
        ImageError: a photo cannot be read.
    """
    labelled = [photo for photo in photos if photo.label is not None]
    if not labelled:
        raise SettingError("None of the photos has a label; give labels to evaluate against.")
    hits = torch.zeros(len(settings), 2)
    macs = [0] * len(settings)
    for images, labels in _batches(labelled, model.config, batch):
        for index, setting in enumerate(settings):
            selector = create_selector(setting.selector, seed=setting.seed)
            with MacCounter(model) as counter:
                logits = model(images.to(model.cls_token.device), setting.keep_ratio, selector)
            macs[index] += counter.report().total
            right = logits.cpu().topk(min(5, logits.shape[1])).indices == labels[:, None]
            hits[index] += torch.stack([right[:, 0].sum(), right.any(dim=1).sum()])
    shares = (hits / len(labelled)).tolist()
    return [
        Evaluation(setting, len(labelled), top1, top5, count / len(labelled) / 1e9)
        for setting, (top1, top5), count in zip(settings, shares, macs, strict=True)
    ]


def _batches(photos: Sequence[Photo], config: ModelConfig, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(photos), size):
        some = photos[start : start + size]
        images = torch.cat([prepare(decode(photo.data), config).tensor for photo in some])
        yield images, torch.tensor([photo.label for photo in some])
