"""How often a model is right on labelled photos, how often pruning changes its answer, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import torch
from torch import Tensor

from dynamicvit.costs.macs import MacCounter
from dynamicvit.datasets import Batch, Photo, Share, UnreadablePhoto, read_batches
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.models.base import DynamicModel
from dynamicvit.models.selectors import create_selector


@dataclass(frozen=True)
class EvaluationSetting:
    """One way to run the model; a keep ratio of None is dense."""

    keep_ratio: float | None
    selector: str = "predictor"
    seed: int = 0


DENSE = EvaluationSetting(None)


@dataclass(frozen=True)
class Evaluation:
    """How the model did in one setting, as counts that add up over parts of the photos.

    Attributes:
        setting: how it was run.
        photos: number of photos that were read.
        labelled: number of them that have a label.
        top1_hits, top5_hits: number of labelled photos whose class was the best guess, or among the best five.
        agreeing: number of photos whose best guess is the dense model's.
        nll_sum: sum over the labelled photos of the negative logarithm of their class's probability.
        top_sum: sum over all photos of the best guess's probability.
        change_sum: sum over all photos of how far the probability of the dense model's best guess is from the dense
            model's own.
        gmacs: 10^9 multiply-adds for one photo; 0 without photos.
        speeds: (photos, photos a second) of each batch, from the model's input to its answer, by one process.
    """

    setting: EvaluationSetting
    photos: int = 0
    labelled: int = 0
    top1_hits: int = 0
    top5_hits: int = 0
    agreeing: int = 0
    nll_sum: float = 0.0
    top_sum: float = 0.0
    change_sum: float = 0.0
    gmacs: float = 0.0
    speeds: tuple[tuple[int, float], ...] = field(default=(), repr=False)

    def __add__(self, other: Evaluation) -> Evaluation:
        """Join the counts of two parts of the photos, for the same setting."""
        return Evaluation(
            self.setting,
            self.photos + other.photos,
            self.labelled + other.labelled,
            self.top1_hits + other.top1_hits,
            self.top5_hits + other.top5_hits,
            self.agreeing + other.agreeing,
            self.nll_sum + other.nll_sum,
            self.top_sum + other.top_sum,
            self.change_sum + other.change_sum,
            max(self.gmacs, other.gmacs),
            self.speeds + other.speeds,
        )

    @property
    def top1(self) -> float:
        """Share of the labelled photos whose class was the best guess, in [0, 1]; not a number if none is labelled."""
        return _fraction(self.top1_hits, self.labelled)

    @property
    def top5(self) -> float:
        """Share of the labelled photos whose class was among the best five."""
        return _fraction(self.top5_hits, self.labelled)

    @property
    def agreement(self) -> float:
        """Share of the photos whose best guess is the dense model's, in [0, 1]."""
        return _fraction(self.agreeing, self.photos)

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the labelled photos' classes, in nats."""
        return _fraction(self.nll_sum, self.labelled)

    @property
    def top_probability(self) -> float:
        """Mean probability of the best guess, in [0, 1]; a calibrated model's is its accuracy."""
        return _fraction(self.top_sum, self.photos)

    @property
    def change(self) -> float:
        """Mean absolute change of the probability of the dense model's best guess, in [0, 1]."""
        return _fraction(self.change_sum, self.photos)

    @property
    def images_per_second(self) -> float:
        """Median over the batches of one process; the smaller ones, such as the last, only count if all are small."""
        full = max((photos for photos, _ in self.speeds), default=0)
        return median([speed for photos, speed in self.speeds if photos == full] or [float("nan")])


def evaluate(
    model: DynamicModel,
    photos: Sequence[Photo],
    settings: Sequence[EvaluationSetting],
    batch: int = 25,
    *,
    share: Share | None = None,
    workers: int = 0,
    on_unreadable: Callable[[UnreadablePhoto], object] | None = None,
    on_batch: Callable[[int], object] | None = None,
) -> list[Evaluation]:
    """Classify the photos in every setting; on each batch dense and pruned run in turn, and are timed.

    Args:
        batch: number of photos that the model sees at once.
        share: the part of the batches to take; all of them when not given.
        workers: processes that read ahead. They compete with a model on the CPU and disturb its timing.
        on_unreadable: is told of every photo that cannot be read; without it such a photo is an error.
        on_batch: is told the number of photos of each finished batch, unreadable ones included.

    Raises:
        SettingError: a setting does not fit the model, it has no classifier, or a label is no class of it.
        CheckpointError: the model's numbers are not finite.
        ImageError: a photo cannot be read, and there is no ``on_unreadable``.
    """
    model.check_classifier()
    _refuse_foreign_labels(photos, model.config.num_classes)
    results = [Evaluation(setting) for setting in settings]
    gmacs: list[float] = []
    for some in read_batches(photos, model.config, batch, share=share, workers=workers):
        for unreadable in some.unreadable:
            if on_unreadable is None:
                raise ImageError(f"{unreadable.name}: {unreadable.reason}")
            on_unreadable(unreadable)
        if some.photos:
            images = some.images.to(model.device)
            # Counting comes first and also warms the model up for the timing.
            gmacs = gmacs or [_count_gmacs(model, images, setting) for setting in settings]
            parts = _evaluate_batch(model, some, images, settings)
            results = [result + part for result, part in zip(results, parts, strict=True)]
        if on_batch is not None:
            on_batch(len(some.photos) + len(some.unreadable))
    return [replace(result, gmacs=count) for result, count in zip(results, gmacs or [0.0] * len(results), strict=True)]


def _evaluate_batch(
    model: DynamicModel, batch: Batch, images: Tensor, settings: Sequence[EvaluationSetting]
) -> list[Evaluation]:
    # In an order that changes with the batch, so that none always runs with what another left in the caches.
    runs = list(dict.fromkeys([DENSE, *settings]))
    first = batch.number % len(runs)
    answers = {setting: _timed_answer(model, images, setting) for setting in runs[first:] + runs[:first]}
    dense, _ = answers[DENSE]
    return [_judge(setting, batch.photos, dense, *answers[setting]) for setting in settings]


def _judge(
    setting: EvaluationSetting, photos: Sequence[Photo], dense: Tensor, logits: Tensor, seconds: float
) -> Evaluation:
    best, dense_best = _best_classes(logits), _best_classes(dense)[:, :1]
    labels = torch.tensor([-1 if photo.label is None else photo.label for photo in photos])
    right, known = best == labels[:, None], labels >= 0
    log_probs, dense_log_probs = (one.double().log_softmax(dim=1) for one in (logits, dense))
    change = log_probs.gather(1, dense_best).exp() - dense_log_probs.gather(1, dense_best).exp()
    return Evaluation(
        setting,
        photos=len(photos),
        labelled=int(known.sum()),
        top1_hits=int(right[:, 0].sum()),
        top5_hits=int(right.any(dim=1).sum()),
        agreeing=int((best[:, :1] == dense_best).sum()),
        nll_sum=-float(log_probs[known].gather(1, labels[known, None]).sum()),
        top_sum=float(log_probs.amax(dim=1).exp().sum()),
        change_sum=float(change.abs().sum()),
        speeds=((len(photos), len(photos) / seconds),),
    )


def _best_classes(logits: Tensor) -> Tensor:
    return logits.topk(min(5, logits.shape[1])).indices


@torch.inference_mode()
def _timed_answer(model: DynamicModel, images: Tensor, setting: EvaluationSetting) -> tuple[Tensor, float]:
    """Return the logits on the CPU and the seconds until they were there, which waits for a GPU too."""
    selector = create_selector(setting.selector, seed=setting.seed)
    start = time.perf_counter()
    output = model.forward_stages(images, setting.keep_ratio, selector)
    logits = output.logits.cpu()
    seconds = time.perf_counter() - start
    output.checked()
    return logits, seconds


@torch.inference_mode()
def _count_gmacs(model: DynamicModel, images: Tensor, setting: EvaluationSetting) -> float:
    with MacCounter(model) as counter:
        model(images, setting.keep_ratio, create_selector(setting.selector, seed=setting.seed))
    return counter.report().total / len(images) / 1e9


def _refuse_foreign_labels(photos: Sequence[Photo], num_classes: int) -> None:
    for photo in photos:
        if photo.label is not None and not 0 <= photo.label < num_classes:
            raise SettingError(
                f"{photo.name} has the label {photo.label}, but the model's classes are 0 to {num_classes - 1}; "
                "give labels that belong to the checkpoint."
            )


def _fraction(count: float, total: int) -> float:
    return count / total if total else float("nan")
