"""bfloat16 on processors that multiply it faster than float32: chosen by a short measurement, never by a name."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from statistics import fmean, median
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from dynamicvit.models.base import DynamicModel, KeepRatio, SparseOutput
from dynamicvit.models.vit import DynamicVisionTransformer

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RATIO = 0.7
MEASURING_S = 0.6
GIVE_UP_S = 3.0  # on a busy machine passes take seconds, and say nothing
WORTH = 0.9  # of float32's time: what gains less is not worth other digits
LEAST_OVERLAP = 0.98

Module = TypeVar("Module", bound=nn.Module)


def in_bfloat16(model: Module) -> Module:
    """Return a model of tokens, changed in place, whose blocks compute attention and MLP in bfloat16.

    All that decides stays in float32: the embedding, the residual sums, the predictors, the last norm and the head. In
    bfloat16 many scores are equal, and the kept sets and close answers become others. Weights are rounded once, where
    autocast would round them in every pass.

    Args:
        model: in evaluation mode, with ``blocks`` as in ViT: one of ours or of timm.
    """
    blocks: Iterable[nn.Module] = model.get_submodule("blocks").children()
    for block in blocks:
        for name in ("attn", "mlp"):
            block.get_submodule(name).to(torch.bfloat16)
        for name in ("norm1", "norm2"):
            block.get_submodule(name).register_forward_hook(_rounded)
    return model


def with_precision(model: DynamicModel, precision: Precision, images: Iterable[Tensor] = ()) -> DynamicModel:
    """Return the model in the precision that was asked for.

    On a GPU and in models without blocks of tokens (ConvNeXt, Swin) that is always float32. "auto" is bfloat16 where
    both the dense and the pruned model are faster in it and answer the images as in float32.

    Args:
        model: in evaluation mode, in float32; changed in place for "bfloat16".
        images: some of (1, 3, H, W), normalised, to measure with; "auto" takes no more of them than it needs.
    """
    if precision == "float32" or model.device.type != "cpu" or not isinstance(model, DynamicVisionTransformer):
        return model
    if precision == "bfloat16":
        return in_bfloat16(model)
    rounded = in_bfloat16(copy.deepcopy(model))
    return rounded if _is_worth_it(model, rounded, images) else model


def overlap(some: Tensor, others: Tensor) -> Tensor:
    """Return (B,) shares of the (B, K) kept patches that are among the (B, L) other ones."""
    return (some[:, :, None] == others[:, None, :]).any(dim=2).double().mean(dim=1)


@torch.inference_mode()
def _is_worth_it(model: DynamicModel, rounded: DynamicModel, images: Iterable[Tensor]) -> bool:
    """Return whether bfloat16 saves time and changes no answer; in turn, on one image a round, the first to warm up."""
    ratios = (None, RATIO) if model.config.num_stages else (None,)
    shares: dict[KeepRatio | None, list[float]] = {ratio: [] for ratio in ratios}  # of float32's time
    overlaps = list[float]()
    start = time.perf_counter()
    for number, image in enumerate(images):
        for ratio in ratios:
            (own, own_s), (its, its_s) = (_timed(each, image, ratio) for each in (model, rounded))
            if not torch.equal(own.logits.argmax(dim=1), its.logits.argmax(dim=1)):
                return False
            pairs = zip(own.stages, its.stages, strict=True)
            overlaps += [float(overlap(one.kept_patches, other.kept_patches)) for one, other in pairs]
            if number:
                shares[ratio].append(its_s / own_s)
            if time.perf_counter() - start > GIVE_UP_S:
                return False
        if number and time.perf_counter() - start > MEASURING_S:
            break
    return fmean(overlaps or [1.0]) >= LEAST_OVERLAP and all(some and median(some) < WORTH for some in shares.values())


def _timed(model: DynamicModel, image: Tensor, ratio: KeepRatio | None) -> tuple[SparseOutput, float]:
    start = time.perf_counter()
    output = model.forward_stages(image, ratio)
    return output, time.perf_counter() - start


def _rounded(norm: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.to(torch.bfloat16)
