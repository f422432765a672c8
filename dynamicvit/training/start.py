"""Where a student's weights start: from a file, from timm, or in closed form on a pretrained trunk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import ModelConfig, TimmViTConfig
from dynamicvit.models.lite0 import Lite0Embedding
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import Block, DynamicVisionTransformer
from dynamicvit.training.objective import Batch, embed
from dynamicvit.training.teacher import ATTENDED, create_timm_network
from dynamicvit.weights.available import TIMM
from dynamicvit.weights.foreign import timm_preprocessing
from dynamicvit.weights.io import read_shapes, read_weights

_HEADS = ("head.", "head_dist.", "aux_head.")
_PREDICTORS = "score_predictor."


def create_student(config: ModelConfig, class_names: Sequence[str] | None = None) -> DynamicVisionTransformer:
    """Return a model with fresh weights that can be trained here.

    Raises:
        SettingError: it is none that drops tokens.
    """
    model = create_model(config, class_names=class_names)
    if not isinstance(model, DynamicVisionTransformer):
        raise SettingError("ConvNeXt and Swin cannot be trained here; choose a model that drops tokens.")
    return model


# From files ----------------------------------------------------------------------------------------------------------


def read_start(source: str, model: DynamicVisionTransformer) -> dict[str, Tensor]:
    """Return start weights by name: of a file, or with ``timm:NAME`` the pretrained ones of timm.

    Raises:
        CheckpointError: they cannot be had, or say that they belong to a model that computes otherwise.
        SettingError: timm has no such model, or it was trained on images with another normalisation.
    """
    if source.startswith(TIMM):
        network = create_timm_network(source.removeprefix(TIMM), None)
        own = network.pretrained_cfg
        _refuse_other_images(own["mean"], own["std"], model.config, source)
        weights: dict[str, Tensor] = network.state_dict()
        return weights
    file = read_weights(Path(source))
    images = timm_preprocessing(file.name) if file.config is None else file.config.preprocessing
    if images is not None:
        _refuse_other_images(images.mean, images.std, model.config, source)
    if file.config is not None:
        _refuse_other_arithmetic(file.config, model.config, source)
    return file.tensors


def _refuse_other_images(mean: Sequence[float], std: Sequence[float], wanted: ModelConfig, source: str) -> None:
    if (tuple(mean), tuple(std)) != (wanted.preprocessing.mean, wanted.preprocessing.std):
        raise SettingError(f"{source} was trained with another mean and standard deviation than the model's images.")


def _refuse_other_arithmetic(said: ModelConfig, wanted: ModelConfig, source: str) -> None:
    """Refuse weights by what leaves no trace in their shapes."""
    for name in ("num_heads", "norm_eps", "residual_divisor"):
        own, asked = getattr(said, name), getattr(wanted, name)
        if own != asked:
            raise CheckpointError(f"{source} is of a model with {name} {own}, not {asked}; give --set {name}={own}.")


def start_class_names(source: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Return what a start file calls the classes; None where it names none, or is of another number of classes."""
    if source is None or source.startswith(TIMM):
        return None
    # A file that cannot be read is refused when its weights are wanted.
    with suppress(CheckpointError):
        names = read_shapes(Path(source)).class_names
        return names if names is not None and len(names) == num_classes else None
    return None


def load_start(model: DynamicVisionTransformer, weights: dict[str, Tensor], source: str) -> bool:
    """Copy start weights into a model.

    Predictors that the weights lack keep their initialisation, and predictors that the model lacks are passed over.
    A head for another number of classes is left out, and a model of timm may have none; the position embedding is
    resampled to the model's grid.

    Returns:
        Whether the model's head is new.

    Raises:
        CheckpointError: the weights are of another model.
    """
    expected = model.state_dict()
    found = {name: value for name, value in weights.items() if name in expected or not name.startswith(_PREDICTORS)}
    may_lack_head = isinstance(model.config, TimmViTConfig)  # such as DINOv2, which gives features alone
    head = found.get("head.weight", None if may_lack_head else expected["head.weight"])
    has_new_head = head is None or head.shape != expected["head.weight"].shape
    if has_new_head:
        found = {name: value for name, value in found.items() if not name.startswith(_HEADS)}
    if "pos_embed" in found:
        found["pos_embed"] = _resampled(found["pos_embed"], expected["pos_embed"], model.config.num_prefix_positions)
    may_be_missing = (_PREDICTORS, *_HEADS) if has_new_head else (_PREDICTORS,)
    missing = [name for name in expected if name not in found and not name.startswith(may_be_missing)]
    strange = [name for name, value in found.items() if name not in expected or value.shape != expected[name].shape]
    if missing or strange:
        named = f"lacks {missing[0]}" if missing else f"has {strange[0]} {tuple(found[strange[0]].shape)}"
        raise CheckpointError(f"{source} does not fit the model to be trained: it {named}; check --model and --set.")
    model.load_state_dict(found, strict=False)
    return has_new_head


def _resampled(positions: Tensor, expected: Tensor, prefix: int) -> Tensor:
    """Bring a square grid of positions, behind those of the prefix, to the number that is expected."""
    if positions.ndim != 3 or positions.shape[1] == expected.shape[1]:
        return positions
    old, new = (math.isqrt(grid.shape[1] - prefix) for grid in (positions, expected))
    if old * old + prefix != positions.shape[1]:
        return positions
    return resample_abs_pos_embed(positions, [new, new], [old, old], num_prefix_tokens=prefix)


# In closed form ------------------------------------------------------------------------------------------------------

LEVEL = 40.0
# Shares of the mean patch token that blocks add to the class token. The first block adds a little, by which later
# queries know what to look for; the answer is gathered behind the stages, so that it rests on the tokens that are left.
GLANCED = 0.25
GATHERED = 0.75
HEAD_IMAGES = 256


@dataclass(frozen=True)
class ClosedFormStart:
    """A start that answers about as its teacher does before any training, for a student with its teacher's trunk.

    The tokens are the directions of the trunk's features that tell most of the teacher's logits (reduced-rank
    regression), and a constant. The blocks are the identity, but for a few whose attention, uniform at first, gathers
    the mean of the patch tokens in the class token (the first block a little of it). The head reads the logits off the
    directions.

    Attributes:
        classifier: (classes, channels), the teacher's last layer.
        images: how many images the directions are found on.
    """

    classifier: Tensor
    images: int

    @torch.no_grad()
    def __call__(self, student: DynamicVisionTransformer, batches: Iterable[Batch], gathering: Sequence[int]) -> None:
        """Write the start into a student.

        Args:
            batches: with the trunk's features and the teacher's view.
            gathering: blocks that gather, beside the first one.
        """
        pooled: list[Tensor] = []
        kept: list[Batch] = []
        for batch in batches:
            features = cast(Tensor, batch.features)
            pooled.append(features.flatten(2).float().mean(dim=2))
            if sum(len(one.images) for one in kept) < HEAD_IMAGES:
                kept.append(batch)
        maps, bias, head = reduced_rank(torch.cat(pooled), self.classifier, student.config.embed_dim - 1)
        _make_tokens(student, maps, bias)
        for index, block in enumerate(student.blocks):
            _make_block(cast(Block, block), GATHERED if index in gathering else 0.0 if index else GLANCED)
        student.norm.weight.fill_(_norm_weight(student))
        student.norm.weight[-1] = 1.0
        for predictor in student.score_predictor:
            norm = cast(nn.LayerNorm, predictor.get_submodule("in_conv.0"))
            norm.weight.fill_(_norm_weight(student))
            norm.weight[-1] = 1.0
        _fit_head(student, head, kept)


def reduced_rank(pooled: Tensor, classifier: Tensor, rank: int, ridge: float = 1e-3) -> tuple[Tensor, Tensor, Tensor]:
    """Return the linear maps of pooled features that explain most of a classifier's centred logits.

    The mapped features have mean 0 and variance 1 and are uncorrelated over the given images. Their order is shuffled,
    so that attention's heads get as telling ones each.

    Args:
        pooled: (n, channels).
        classifier: (classes, channels).
        rank: number of maps.
        ridge: added to the features' covariance, relative to its mean diagonal.

    Returns:
        Maps (rank, channels) and their bias (rank,), and the centred logits' (classes, rank) weights on what is mapped.

    Raises:
        SettingError: there are fewer directions than asked for.
    """
    if rank > min(classifier.shape):
        raise SettingError(
            f"A teacher with a {tuple(classifier.shape)} head has no {rank} directions; lower embed_dim."
        )
    device = pooled.device
    pooled, classifier = pooled.double().cpu(), classifier.double().cpu()
    mean = pooled.mean(dim=0)
    covariance = (pooled - mean).T @ (pooled - mean) / len(pooled)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    root = torch.linalg.cholesky(covariance)
    left, sizes, right = torch.linalg.svd((classifier - classifier.mean(dim=0)) @ root, full_matrices=False)
    order = torch.randperm(rank, generator=torch.Generator().manual_seed(0))
    maps = torch.linalg.solve_triangular(root, right[order], upper=False, left=False)
    head = left[:, order] * sizes[order]
    return maps.float().to(device), -(maps @ mean).float().to(device), head.float().to(device)


def _make_tokens(student: DynamicVisionTransformer, maps: Tensor, bias: Tensor) -> None:
    """Make tokens of the maps and of a large constant, which sets the norms' scale and so makes them almost linear."""
    proj = cast(Lite0Embedding, student.patch_embed).proj
    weight, offset = torch.zeros_like(proj.weight), torch.zeros_like(cast(Tensor, proj.bias))
    weight[:-1, :, 0, 0], offset[:-1], offset[-1] = maps, bias, LEVEL
    proj.weight.copy_(weight)
    cast(Tensor, proj.bias).copy_(offset)
    student.pos_embed.zero_()
    student.cls_token.zero_()
    student.cls_token[..., -1] = LEVEL


def _make_block(block: Block, share: float) -> None:
    """Make a block add a share of the mean of what it attends to; with none it is the identity."""
    dim = block.norm1.weight.shape[0]
    for layer in (block.mlp.fc2, block.attn.proj):
        layer.weight.zero_()
    for norm in (block.norm1, block.norm2):
        norm.weight.fill_((1.0 + LEVEL**2 / dim) ** 0.5)
        norm.weight[-1] = 1.0
    if share:
        block.attn.qkv.weight[2 * dim :] = torch.eye(dim)
        block.attn.proj.weight[:-1, :-1] = share * torch.eye(dim - 1)


def _norm_weight(student: DynamicVisionTransformer) -> float:
    """Return what undoes a norm's division by a token's spread, which is nearly that of the constant."""
    return (1.0 + LEVEL**2 / student.config.embed_dim) ** 0.5


def _fit_head(student: DynamicVisionTransformer, head: Tensor, batches: Sequence[Batch]) -> None:
    """Set the head to the directions' logits; their scale and bias are what fits the teacher's answers best."""
    embedded = [embed(student, batch.images, cast(Tensor, batch.features).float()) for batch in batches]
    tokens = torch.cat([student.transform(tokens)[:, 0, :-1] for tokens in embedded])
    wanted = torch.cat([batch.views[ATTENDED].logits for batch in batches])
    found = tokens @ head.T
    scale = ((found - found.mean(0)) * (wanted - wanted.mean(0))).sum() / (found - found.mean(0)).square().sum()
    student.head.weight.zero_()
    student.head.weight[:, :-1] = scale * head
    student.head.bias.copy_(wanted.mean(0) - scale * found.mean(0))


def hold_values(student: DynamicVisionTransformer) -> None:
    """Keep the values of all attention as they are; what becomes of them is learned in attention's output.

    Values share a matrix with queries and keys, which learn at the full rate, at which a model that starts as good as
    its teacher forgets the classes that its images lack.
    """
    for block in student.blocks:
        qkv = cast(Block, block).attn.qkv
        for parameter in (qkv.weight, qkv.bias):
            if parameter is not None:
                cast(Any, parameter).register_hook(_without_values)


def _without_values(gradient: Tensor) -> Tensor:
    count = 2 * gradient.shape[0] // 3
    return torch.cat([gradient[:count], torch.zeros_like(gradient[count:])])
