"""Any plain vision transformer of timm, without training: its tokens are dropped by attention, likeness or chance.

Plain ViT, DeiT, DeiT-III, DINOv2, CLIP's image towers and their relatives differ in small things: tokens in front of
the patches, scales, norms, where the classifier reads. Modules have timm's names, so weights load by key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import timm
import torch
from timm.layers import Attention as TimmAttention
from timm.layers import LayerScale, Mlp, PatchEmbed, get_act_layer, resample_abs_pos_embed, trunc_normal_
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block as TimmBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dynamicvit.errors import DownloadError, SettingError
from dynamicvit.labels import checked_class_names
from dynamicvit.models.config import Activation, ModelConfig, Preprocessing, TimmViTConfig, quarter_locations
from dynamicvit.models.selectors import Observer
from dynamicvit.models.vit import Attention, Block, DynamicVisionTransformer, PatchEmbedding

LAYER_SCALE = 1e-5
"""What learned scales start from, in models that are built without weights."""
_WORDNET_ID = re.compile(r"n\d{8}")
_ACTIVATIONS: dict[str, Activation] = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu"}


def from_timm(
    model: str | nn.Module,
    prune_locations: Sequence[int] | None = None,
    *,
    pretrained: bool = False,
    preprocessing: Preprocessing | None = None,
) -> TimmVisionTransformer:
    """Return a plain vision transformer of timm that drops tokens before given blocks, in evaluation mode.

    It has no prediction modules: its tokens are chosen by class-token attention, or by diversity where there is no
    class token, or by any other selector that needs no training. Dense, and at a keep ratio of 1, it gives timm's
    logits. Mean, standard deviation and crop are those of timm's ``pretrained_cfg``; images are cropped at their centre
    where timm squashes them.

    Args:
        model: timm's name, such as ``"vit_small_patch16_224"`` or ``"hf-hub:ORG/NAME"``, or a model of timm, whose
            weights are copied.
        prune_locations: blocks before which tokens are dropped, 0-based, increasing; when not given, those after each
            quarter of the depth, which of 12 blocks are 3, 6 and 9.
        pretrained: fetch timm's weights from the network; without it the weights are random.
        preprocessing: how images are prepared, in place of what timm says.

    Raises:
        SettingError: timm has no such model, it is no plain vision transformer, timm does not say how its images are
            prepared, or the locations do not fit.
        DownloadError: nothing could be fetched.
    """
    if isinstance(model, str):
        if pretrained and ":" not in model:
            # Whatever cannot be used is refused before anything is fetched.
            describe_timm(model, None if prune_locations is None else tuple(prune_locations), preprocessing)
        name, source = model, _create(model, pretrained)
    elif pretrained:
        raise SettingError("A model that is built already has its weights; give its name to load others.")
    else:
        name, source = _settings_of(model).get("architecture", type(model).__name__), model
    config = _describe(source, name, prune_locations, preprocessing)
    with torch.device("meta"):
        result = TimmVisionTransformer(config, _class_names(source, config.num_classes))
    weights = {key: tensor.detach().clone() for key, tensor in source.state_dict().items()}
    result.load_state_dict(weights, assign=True)  # strictly: whatever the description misses ends here
    return result.eval()


@lru_cache(maxsize=64)
def describe_timm(
    name: str, prune_locations: tuple[int, ...] | None = None, preprocessing: Preprocessing | None = None
) -> TimmViTConfig:
    """Return the description of the model that :func:`from_timm` would give, without its weights.

    Raises:
        SettingError: as in :func:`from_timm`.
    """
    with torch.device("meta"):  # no numbers are drawn
        return _describe(_create(name, pretrained=False), name, prune_locations, preprocessing)


def is_timm_name(name: str) -> bool:
    """Return whether timm has a model of that name, which may end in a tag: ``"vit_small_patch16_224.dino"``."""
    return timm.is_model(name.partition(".")[0])


class NormedAttention(Attention):
    """Self-attention with norms on queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.embed_dim, config.num_heads, qkv_bias=config.qkv_bias)
        head_dim = config.embed_dim // config.num_heads
        self.q_norm = nn.LayerNorm(head_dim, eps=config.norm_eps)
        self.k_norm = nn.LayerNorm(head_dim, eps=config.norm_eps)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (B, H, T, d)."""
        query, key, value = super().project(x)
        return self.q_norm(query), self.k_norm(key), value


class ScaledBlock(Block):
    """A block whose residual branches may have learned scales."""

    def __init__(self, config: TimmViTConfig, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        dim = config.embed_dim
        if config.qk_norm:
            self.attn = NormedAttention(config)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio), act_layer=get_act_layer(config.activation))
        self.ls1 = LayerScale(dim, LAYER_SCALE) if config.layer_scale else nn.Identity()
        self.ls2 = LayerScale(dim, LAYER_SCALE) if config.layer_scale else nn.Identity()

    def forward(
        self,
        x: Tensor,
        policy: Tensor | None = None,
        *,
        key_bias: Tensor | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """Return the transformed tokens (B, T, C); arguments as in :class:`~dynamicvit.models.vit.Attention`."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), policy, key_bias=key_bias, observe=observe)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class TimmVisionTransformer(DynamicVisionTransformer):
    """A plain vision transformer of timm; without prediction modules unless the description asks for them."""

    config: TimmViTConfig

    def __init__(self, config: TimmViTConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__(config if config.num_classes else replace(config, num_classes=1))
        self.config = config
        self.class_names = checked_class_names(class_names, config.num_classes)
        dim = config.embed_dim
        if not config.num_classes:
            self.head = _nothing()
        if not config.has_predictors:
            self.score_predictor = nn.ModuleList()
        if not config.class_token:
            del self.cls_token
        if config.distillation_token:
            self.dist_token = nn.Parameter(trunc_normal_(torch.zeros(1, 1, dim), std=0.02))
            self.head_dist = nn.Linear(dim, config.num_classes) if config.num_classes else _nothing()
            self.head_dist.apply(self.initialise)
        if config.num_registers:
            self.reg_token = nn.Parameter(trunc_normal_(torch.zeros(1, config.num_registers, dim), std=0.02))
        positions = config.num_patches + config.num_prefix_positions
        self.pos_embed = nn.Parameter(trunc_normal_(torch.zeros(1, positions, dim), std=0.02))
        self.norm_pre = nn.LayerNorm(dim, eps=config.norm_eps) if config.pre_norm else _nothing()
        self.fc_norm: nn.Module = _nothing()
        if config.is_norm_after_pool:
            self.norm, self.fc_norm = _nothing(), self.norm

    def make_embedding(self) -> nn.Module:
        """Return the patch convolution."""
        return PatchEmbedding(self.config.patch_size, self.config.embed_dim, bias=not self.config.pre_norm)

    def make_block(self, drop_path: float) -> nn.Module:
        """Return one transformer block."""
        return ScaledBlock(self.config, drop_path)

    def add_class_token(self, feature_map: Tensor) -> Tensor:
        """Return (B, C, rows, columns) as (B, P + N, C): row by row, prefix in front, positions added, normed."""
        grid = [feature_map.shape[2], feature_map.shape[3]]
        side = self.config.image_size // self.config.patch_size
        prefix = self.config.num_prefix_positions
        positions: Tensor = self.pos_embed
        if grid != [side, side]:
            positions = resample_abs_pos_embed(positions, grid, [side, side], num_prefix_tokens=prefix)
        tokens = feature_map.flatten(2).transpose(1, 2)
        in_front = [token.expand(tokens.shape[0], -1, -1) for token in self._prefix_tokens()]
        if self.config.has_prefix_positions:
            return self.norm_pre(torch.cat([*in_front, tokens], dim=1) + positions)
        return self.norm_pre(torch.cat([*in_front, tokens + positions], dim=1))

    def _prefix_tokens(self) -> Iterator[Tensor]:
        """Yield the (1, n, C) tokens in front of the patch tokens, in timm's order."""
        for name in ("cls_token", "dist_token", "reg_token"):
            if hasattr(self, name):
                yield getattr(self, name)

    def score(self, stage: int, patches: Tensor, keep_mask: Tensor | None = None) -> Tensor:
        """Return the stage's (B, n, 2) log-probabilities.

        Raises:
            SettingError: the model has no prediction modules.
        """
        if not self.config.has_predictors:
            raise SettingError(
                "This model has no predictors, they have to be trained; "
                f"choose one of the selectors {', '.join(self.selectors)}."
            )
        return super().score(stage, patches, keep_mask)

    def classify(self, tokens: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return (B, classes) logits of the class token, or of the average of the patch tokens that are left."""
        if self.config.distillation_token:
            return (self.head(tokens[:, 0]) + self.head_dist(tokens[:, 1])) / 2
        if self.config.pool == "token":
            return self.head(self.fc_norm(tokens[:, 0]))
        patches = tokens[:, self.config.num_prefix_tokens :]
        if sizes is None:
            return self.head(self.fc_norm(patches.mean(dim=1)))
        weights = sizes / sizes.sum(dim=1, keepdim=True).clamp_min(1e-3)
        return self.head(self.fc_norm((patches * weights.unsqueeze(-1)).sum(dim=1)))

    @property
    def selectors(self) -> tuple[str, ...]:
        """Names of the selectors that this model can be asked by, its default first."""
        names = ("predictor", "class-attention", "diversity", "merging", "random", "grid")
        missing = {"predictor"} if not self.config.has_predictors else set()
        missing |= {"class-attention"} if not self.config.class_token else set()
        return tuple(name for name in names if name not in missing)

    @property
    def read_out(self) -> list[nn.Module]:
        """The modules after the last block."""
        second_head = [self.head_dist] if self.config.distillation_token else []
        return [*super().read_out, self.fc_norm, *second_head]


def _nothing() -> Any:
    """Return what stands for a layer that this model does not have."""
    return nn.Identity()


def _create(name: str, pretrained: bool) -> nn.Module:
    """Return timm's model of that name.

    Raises:
        SettingError: timm knows no model of that name.
        DownloadError: its weights, or its description on the hub, cannot be had.
    """
    if ":" not in name and not is_timm_name(name):
        raise SettingError(f"timm has no model {name!r}; timm.list_models() gives the names.")
    try:
        return cast(nn.Module, timm.create_model(name, pretrained=pretrained))
    except Exception as error:  # timm, the hub and the network fail in many ways
        if pretrained or ":" in name:
            raise DownloadError(f"{name} could not be fetched: {_in_one_line(error)}") from error
        raise SettingError(f"timm cannot build {name}: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _settings_of(model: nn.Module) -> dict[str, Any]:
    """Return what timm says of a model's weights."""
    return getattr(model, "pretrained_cfg", None) or {}


def _class_names(model: nn.Module, num_classes: int) -> list[str] | None:
    """Return what a model from the hub calls its classes; None where it does not say, or names ImageNet's by number."""
    names = _settings_of(model).get("label_names")
    if not isinstance(names, list) or len(names) != num_classes or not all(isinstance(name, str) for name in names):
        return None
    return None if all(map(_WORDNET_ID.fullmatch, names)) else names


def _describe(
    model: nn.Module, name: str, prune_locations: Sequence[int] | None, preprocessing: Preprocessing | None
) -> TimmViTConfig:
    """Return the description of a model of timm.

    Raises:
        SettingError: it is none that this module knows; the message says what is in the way.
    """
    obstacle = next(_obstacles(model), None)
    if obstacle is not None:
        raise SettingError(f"{name} cannot drop tokens here: {obstacle}.")
    vit = cast(VisionTransformer, model)
    depth = len(vit.blocks)
    block, hidden = vit.blocks[0], vit.blocks[0].mlp.fc1.out_features
    ratio = hidden / vit.embed_dim
    return TimmViTConfig(
        image_size=vit.patch_embed.img_size[0],
        patch_size=vit.patch_embed.patch_size[0],
        embed_dim=vit.embed_dim,
        depth=depth,
        num_heads=block.attn.num_heads,
        # Half a channel more, because the product is rounded down.
        mlp_ratio=ratio if int(vit.embed_dim * ratio) == hidden else (hidden + 0.5) / vit.embed_dim,
        qkv_bias=block.attn.qkv.bias is not None,
        num_classes=vit.num_classes,
        norm_eps=block.norm1.eps,
        prune_locations=quarter_locations(depth) if prune_locations is None else tuple(prune_locations),
        preprocessing=preprocessing or _preprocessing(vit, name),
        class_token=vit.has_class_token,
        distillation_token=isinstance(vit, VisionTransformerDistilled),
        num_registers=vit.num_reg_tokens,
        has_prefix_positions=not vit.no_embed_class,
        pre_norm=isinstance(vit.norm_pre, nn.LayerNorm),
        layer_scale=isinstance(block.ls1, LayerScale),
        qk_norm=isinstance(block.attn.q_norm, nn.LayerNorm),
        activation=_ACTIVATIONS[type(block.mlp.act).__name__],
        pool=vit.global_pool,
        is_norm_after_pool=isinstance(vit.fc_norm, nn.LayerNorm),
    )


def _preprocessing(vit: VisionTransformer, name: str) -> Preprocessing:
    """Return how timm prepares this model's images.

    Raises:
        SettingError: it does not say, or in a way that is not possible here.
    """
    settings = _settings_of(vit)
    missing = [key for key in ("crop_pct", "mean", "std", "interpolation") if settings.get(key) is None]
    if missing:
        raise SettingError(f"timm does not say the {', '.join(missing)} of {name}'s images; give preprocessing.")
    if settings["interpolation"] != "bicubic":
        raise SettingError(
            f"{name} expects images resized by {settings['interpolation']} interpolation, here it is bicubic; "
            "give preprocessing to use it all the same."
        )
    return Preprocessing(settings["crop_pct"], tuple(settings["mean"]), tuple(settings["std"]))


def _obstacles(model: nn.Module) -> Iterator[str]:
    """Yield what this module cannot compute as a model of timm does."""
    if type(model) not in (VisionTransformer, VisionTransformerDistilled):
        yield f"it is a {type(model).__name__}, not a plain vision transformer"
        return
    vit = cast(VisionTransformer, model)
    embedding = vit.patch_embed
    if type(embedding) is not PatchEmbed or not isinstance(embedding.norm, nn.Identity):
        yield f"its patches are embedded by a {type(embedding).__name__} with more than one convolution"
        return
    sizes = (embedding.img_size, embedding.patch_size)
    if any(size is None or size[0] != size[1] for size in sizes) or embedding.proj.in_channels != 3:
        yield "its images or patches are not square, or not in colour"
    if vit.pos_embed is None:
        yield "it has no learned positions"
    if vit.attn_pool is not None or vit.global_pool not in ("token", "avg") or vit.pool_include_prefix:
        yield f"its tokens are pooled by {vit.global_pool!r}"
    if not isinstance(vit.head, nn.Linear | nn.Identity):
        yield f"its head is a {type(vit.head).__name__}"
    if [type(norm) for norm in (vit.norm, vit.fc_norm)].count(nn.Identity) != 1:
        yield "it has no last norm"
    for block in vit.blocks:
        yield from _block_obstacles(block, vit.embed_dim)
    norms = [module for name, module in vit.named_modules() if "norm" in name and not isinstance(module, nn.Identity)]
    if not all(isinstance(norm, nn.LayerNorm) for norm in norms) or len({norm.eps for norm in norms}) > 1:
        yield "its norms are not layer norms, or not all alike"
    if len({(block.attn.num_heads, block.mlp.fc1.out_features) for block in vit.blocks}) > 1:
        yield "its blocks are not all alike"


def _block_obstacles(block: Any, dim: int) -> Iterator[str]:
    """Yield what is in the way in one block of timm."""
    if type(block) is not TimmBlock:
        yield f"its blocks are of the kind {type(block).__name__}"
    elif type(block.attn) is not TimmAttention:
        yield f"its attention is of the kind {type(block.attn).__name__}"
    elif block.attn.gate is not None or not isinstance(block.attn.norm, nn.Identity) or block.attn.attn_dim != dim:
        yield "its attention is gated, normed or of another width"
    elif type(block.mlp) is not Mlp or not isinstance(block.mlp.norm, nn.Identity):
        yield f"its MLPs are of the kind {type(block.mlp).__name__} or normed"
    elif type(block.mlp.act).__name__ not in _ACTIVATIONS:
        yield f"its activation is {type(block.mlp.act).__name__}"
    elif block.attn.proj.bias is None or block.mlp.fc1.bias is None:
        yield "its projections have no bias"
