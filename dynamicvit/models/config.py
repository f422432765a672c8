"""The descriptions from which models are built: token models, timm's among them, and hierarchical ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

from dynamicvit.budget import Schedule
from dynamicvit.errors import SettingError
from dynamicvit.models.fields import Ranges, check_fields, known_fields

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Embedding = Literal["patch", "lvvit", "lite0", "convnext", "swin"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
Pool = Literal["token", "avg"]

STRIDES = (4, 8, 16, 32)
"""Pixels between the positions of each stage of a hierarchical model."""

# From where to where a field may be: far beyond any real model, so that a file cannot ask for the absurd.
_SIZES = (1, 2**16)
_RANGES: Ranges = {
    "image_size": _SIZES,
    "patch_size": _SIZES,
    "embed_dim": _SIZES,
    "depth": _SIZES,
    "num_heads": _SIZES,
    "mlp_ratio": (0, 2**10),
    "num_classes": (1, 2**24),
    "norm_eps": (0, 1),
    "residual_divisor": (1e-3, 1e3),
    "drop_path_rate": (0, 1),
    "trained_keep_ratios": (1e-3, 1),
    "num_registers": (0, 2**10),
    "widths": _SIZES,
    "depths": _SIZES,
    "heads": _SIZES,
    "window_size": _SIZES,
    "crop_ratio": (0.1, 1),
    "mean": (-1e3, 1e3),
    "std": (1e-3, 1e3),
}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input; it travels with the model that was trained so.

    Attributes:
        crop_ratio: the centre crop's side as a share of the resized shorter side (224 of 256 is 0.875).
        mean, std: per channel, of pixels in [0, 1], RGB.

    Raises:
        SettingError: a value is of another type or out of its range.
    """

    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)


@dataclass(frozen=True)
class ModelConfig:
    """One vision transformer, dense or with pruning stages.

    Attributes:
        image_size: side in pixels that the position embedding belongs to; other sizes resample it.
        patch_size: side in pixels of the image patch that becomes one token.
        embed_dim, depth, num_heads, mlp_ratio, qkv_bias, drop_path_rate: as in timm.
        norm_eps: epsilon of the backbone's layer norms.
        residual_divisor: each residual branch is divided by it (LV-ViT: 2).
        embedding: how an image becomes tokens: a patch convolution (ViT, DeiT), LV-ViT's convolutional stem, or
            the trunk of EfficientNet-Lite0; "convnext" and "swin" are those of :class:`HierarchicalConfig` alone.
        has_aux_head: add half of the patch tokens' best class scores to the class token's (LV-ViT).
        prune_locations: blocks before which tokens are dropped, 0-based, increasing; empty for a dense model.
        trained_keep_ratios: base keep ratios that the published weights of this name were trained for.
        preprocessing: how its input images are prepared.

    Raises:
        SettingError: a value is of another type or out of its range, or the values do not fit together.
    """

    family: ClassVar[str] = "token"
    ranges: ClassVar[Ranges] = _RANGES

    image_size: int = 224
    patch_size: int = 16
    embed_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    num_classes: int = 1000
    norm_eps: float = 1e-6
    residual_divisor: float = 1.0
    drop_path_rate: float = 0.0
    embedding: Embedding = "patch"
    has_aux_head: bool = False
    prune_locations: tuple[int, ...] = ()
    trained_keep_ratios: tuple[float, ...] = ()
    preprocessing: Preprocessing = Preprocessing()

    def __post_init__(self) -> None:
        check_fields(self, self.ranges)
        self._complete()
        if int(self.embed_dim * self.mlp_ratio) < 1:
            raise SettingError(f"mlp_ratio {self.mlp_ratio} leaves nothing of embed_dim {self.embed_dim}.")
        if self.image_size % self.patch_size:
            raise SettingError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}.")
        if self.embed_dim % self.num_heads:
            raise SettingError(f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}.")
        if (self.embedding in ("convnext", "swin")) != isinstance(self, HierarchicalConfig):
            raise SettingError("A ConvNeXt is described by a ConvNeXtConfig and a Swin by a SwinConfig.")
        if self.embedding == "lvvit" and self.patch_size % 2:
            raise SettingError(f"LV-ViT's stem needs an even patch_size; got {self.patch_size}.")
        if self.has_aux_head != (self.embedding == "lvvit"):
            raise SettingError("LV-ViT has an auxiliary head and the other models have none; set has_aux_head so.")
        if self.embedding == "lite0" and self.patch_size != 16:
            raise SettingError(f"EfficientNet-Lite0's trunk has a patch_size of 16; got {self.patch_size}.")
        if self.prune_locations and self.embed_dim % 4:
            raise SettingError(f"The predictors need an embed_dim that 4 divides; got {self.embed_dim}.")
        ordered = sorted(set(self.prune_locations)) == list(self.prune_locations)
        if not ordered or any(not 0 <= location < self.depth for location in self.prune_locations):
            raise SettingError(
                f"prune_locations must be increasing block numbers from 0 to {self.depth - 1}; "
                f"got {self.prune_locations}."
            )

    def dense(self) -> Self:
        """Return the same model without pruning stages."""
        return replace(self, prune_locations=(), trained_keep_ratios=())

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain values for JSON; :meth:`from_json` gives an equal one back."""
        values = asdict(self)
        return {"family": self.family} | {field.name: values[field.name] for field in fields(self) if field.init}

    @staticmethod
    def from_json(data: object) -> ModelConfig:
        """Return the description that :meth:`to_json` gave; fields that are not there have their defaults.

        Descriptions from before there were families name none; they are of token models.

        Raises:
            SettingError: the family or a field is unknown, or a value is of another type or not valid.
        """
        values = dict(data) if isinstance(data, Mapping) else data
        family = values.pop("family", ModelConfig.family) if isinstance(values, dict) else ModelConfig.family
        kind = next((kind for kind in _FAMILIES if kind.family == family), None)
        if kind is None:
            known = ", ".join(kind.family for kind in _FAMILIES)
            raise SettingError(f"There is no model family {family!r:.80}; the known ones are {known}.")
        values = known_fields(kind, values)
        if "preprocessing" in values:
            values["preprocessing"] = Preprocessing(**known_fields(Preprocessing, values["preprocessing"]))
        return kind(**values)

    def _complete(self) -> None:
        """Set the fields that follow from others, and refuse those others where they do not fit together."""

    @property
    def num_patches(self) -> int:
        """Number of patch tokens at ``image_size``."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def has_class_token(self) -> bool:
        """Whether a class token stands in front of the others."""
        return True

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens in front of the patch tokens, which are never dropped: the class token."""
        return 1

    @property
    def num_prefix_positions(self) -> int:
        """How many of these have a position too."""
        return self.num_prefix_tokens

    @property
    def num_features(self) -> int:
        """Width of what the classifier reads."""
        return self.embed_dim

    @property
    def num_blocks(self) -> int:
        """Number of blocks of the whole model."""
        return self.depth

    @property
    def num_stages(self) -> int:
        """Number of pruning stages; 0 for a dense model."""
        return len(self.prune_locations)

    @property
    def has_movable_stages(self) -> bool:
        """Whether tokens can be dropped before any blocks, as nothing was trained to do it before certain ones."""
        return False

    @property
    def schedule(self) -> Schedule:
        """How a base keep ratio becomes that of each stage: r, r^2, r^3."""
        return Schedule(self.num_stages)

    @property
    def size_multiple(self) -> int:
        """Height and width of the images are multiples of this many pixels."""
        return self.patch_size


@dataclass(frozen=True)
class TimmViTConfig(ModelConfig):
    """A plain vision transformer of timm; the defaults are those of ViT and DeiT.

    Attributes:
        num_classes: 0 for a model without a classifier, whose "logits" are its pooled features.
        class_token, distillation_token, num_registers: which tokens stand in front of the patch tokens.
        has_prefix_positions: whether these have positions too (not in DeiT-III, nor in DINOv2 with registers).
        pre_norm: a norm before the first block, and no bias in the patch convolution (CLIP).
        layer_scale: learned scales on the residual branches (DeiT-III, DINOv2).
        qk_norm: norms on queries and keys.
        activation: of the MLPs.
        pool: what the classifier reads: the class token, or the average of the patch tokens.
        is_norm_after_pool: whether the last norm comes after that average.
        has_predictors: whether there are prediction modules, which timm's weights do not bring and training makes.
    """

    family: ClassVar[str] = "timm"
    ranges: ClassVar[Ranges] = {**_RANGES, "num_classes": (0, 2**24)}

    class_token: bool = True
    distillation_token: bool = False
    num_registers: int = 0
    has_prefix_positions: bool = True
    pre_norm: bool = False
    layer_scale: bool = False
    qk_norm: bool = False
    activation: Activation = "gelu"
    pool: Pool = "token"
    is_norm_after_pool: bool = False
    has_predictors: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.class_token and (self.pool == "token" or self.distillation_token):
            raise SettingError("Without a class token the patch tokens are averaged; set pool to avg.")
        if self.distillation_token and (self.pool != "token" or self.num_registers):
            raise SettingError("A distilled model reads its class and distillation tokens and has no registers.")
        if self.embedding != "patch" or self.residual_divisor != 1:
            raise SettingError("A model of timm has a patch embedding and whole residuals.")

    @property
    def has_class_token(self) -> bool:
        """Whether a class token stands in front of the others."""
        return self.class_token

    @property
    def has_movable_stages(self) -> bool:
        """Whether tokens can be dropped before any blocks, as nothing was trained to do it before certain ones."""
        return not self.has_predictors

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens in front of the patch tokens, which are never dropped."""
        return self.class_token + self.distillation_token + self.num_registers

    @property
    def num_prefix_positions(self) -> int:
        """How many of these have a position too."""
        return self.num_prefix_tokens if self.has_prefix_positions else 0


@dataclass(frozen=True)
class HierarchicalConfig(ModelConfig):
    """What a ConvNeXt and a Swin have in common: four stages, in the third of which positions choose their path.

    A position of the third stage is what a patch token is elsewhere, 16 x 16 pixels; ``embed_dim``, ``depth`` and
    ``num_heads`` are that stage's and follow from the other fields.

    Attributes:
        widths, depths: channels and blocks of each of the four stages.
        prune_locations: blocks of the third stage, 0-based, before which all positions are divided anew into the slow
            and the fast path; empty for a dense model.
    """

    widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    depths: tuple[int, int, int, int] = (3, 3, 9, 3)
    embed_dim: int = field(init=False)
    depth: int = field(init=False)
    num_heads: int = field(default=1, init=False)
    patch_size: int = field(default=16, init=False)
    norm_eps: float = field(init=False)
    qkv_bias: bool = field(default=True, init=False)
    residual_divisor: float = field(default=1.0, init=False)
    has_aux_head: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        least, multiple = STRIDES[3], self.size_multiple
        if self.image_size < least or self.image_size % multiple:
            raise SettingError(
                f"image_size must be a multiple of {multiple} and at least {least}; got {self.image_size}."
            )

    def _complete(self) -> None:
        object.__setattr__(self, "embed_dim", self.widths[2])
        object.__setattr__(self, "depth", self.depths[2])

    def dense(self) -> Self:
        """Return the same model without pruning stages, and so without fast paths."""
        return replace(self, prune_locations=(), trained_keep_ratios=())

    @property
    def num_features(self) -> int:
        """Width of what the classifier reads."""
        return self.widths[3]

    @property
    def num_blocks(self) -> int:
        """Number of blocks of the whole model."""
        return sum(self.depths)

    @property
    def has_class_token(self) -> bool:
        """Whether a class token stands in front of the others: it does not."""
        return False

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens in front of the positions."""
        return 0

    @property
    def schedule(self) -> Schedule:
        """How a base keep ratio becomes that of each stage: r, r - 0.2, r - 0.4."""
        return Schedule(self.num_stages, step=0.2)


@dataclass(frozen=True)
class ConvNeXtConfig(HierarchicalConfig):
    """A ConvNeXt; the defaults are those of ConvNeXt-T, dense."""

    family: ClassVar[str] = "convnext"

    embedding: Embedding = field(default="convnext", init=False)
    norm_eps: float = field(default=1e-6, init=False)


@dataclass(frozen=True)
class SwinConfig(HierarchicalConfig):
    """A Swin transformer (version 1); the defaults are those of Swin-T, dense.

    Attributes:
        widths: each is twice the one before.
        heads: attention heads of each stage.
        window_size: side of the attention windows in positions; a stage whose map is no larger has one window.
    """

    family: ClassVar[str] = "swin"

    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window_size: int = 7
    embedding: Embedding = field(default="swin", init=False)
    norm_eps: float = field(default=1e-5, init=False)

    def _complete(self) -> None:
        super()._complete()
        object.__setattr__(self, "num_heads", self.heads[2])
        if any(later != 2 * earlier for earlier, later in zip(self.widths, self.widths[1:], strict=False)):
            raise SettingError(f"The widths of a Swin double from stage to stage; got {self.widths}.")
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise SettingError(f"Each of the widths {self.widths} must be a multiple of its heads {self.heads}.")

    @property
    def sides(self) -> tuple[int, ...]:
        """Rows, and columns, of the map of each stage at ``image_size``."""
        return tuple(self.image_size // stride for stride in STRIDES)

    @property
    def windows(self) -> tuple[int, ...]:
        """Side of the attention windows of each stage."""
        return tuple(max(1, min(self.window_size, side)) for side in self.sides)

    @property
    def size_multiple(self) -> int:
        """What divides the maps of all stages into whole windows."""
        return math.lcm(*(stride * window for stride, window in zip(STRIDES, self.windows, strict=True)))


def quarter_locations(depth: int) -> tuple[int, ...]:
    """Return the blocks that come after each quarter of a model's depth, where the paper's models drop tokens."""
    return tuple(sorted({depth * quarter // 4 for quarter in (1, 2, 3)}))


_FAMILIES: tuple[type[ModelConfig], ...] = (ModelConfig, TimmViTConfig, ConvNeXtConfig, SwinConfig)
