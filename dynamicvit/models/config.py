"""The description from which a model is built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from dynamicvit.errors import SettingError
from dynamicvit.models.fields import Ranges, check_fields, known_fields

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Embedding = Literal["patch", "lvvit", "lite0"]

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
    "token_features": (0, 2**16),
    "candidate_classes": (0, 2**16),
    "trained_keep_ratios": (1e-3, 1),
    "crop_ratio": (0.1, 1),
    "mean": (-1e3, 1e3),
    "std": (1e-3, 1e3),
}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the model's input; it travels with the model that was trained so.

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
            the stages of EfficientNet-Lite0.
        has_aux_head: add half of the patch tokens' best class scores to the class token's (LV-ViT).
        token_features: width of a read-out that also averages the remaining patch tokens; 0 reads the class token
            alone (see :mod:`dynamicvit.models.hybrid`).
        candidate_classes: the prediction modules compare answers over that many classes
            (see :mod:`dynamicvit.models.hybrid`), which needs a token read-out; 0 gives the paper's.
        prune_locations: blocks before which tokens are dropped, 0-based, increasing; empty for a dense model.
        trained_keep_ratios: base keep ratios that the published weights of this name were trained for.
        preprocessing: how its input pictures are prepared.

    Raises:
        SettingError: a value is of another type or out of its range, or the values do not fit together.
    """

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
    token_features: int = 0
    candidate_classes: int = 0
    prune_locations: tuple[int, ...] = ()
    trained_keep_ratios: tuple[float, ...] = ()
    preprocessing: Preprocessing = Preprocessing()

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        if int(self.embed_dim * self.mlp_ratio) < 1:
            raise SettingError(f"mlp_ratio {self.mlp_ratio} leaves nothing of embed_dim {self.embed_dim}.")
        if self.image_size % self.patch_size:
            raise SettingError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}.")
        if self.embed_dim % self.num_heads:
            raise SettingError(f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}.")
        if self.embedding == "lvvit" and self.patch_size % 2:
            raise SettingError(f"LV-ViT's stem needs an even patch_size; got {self.patch_size}.")
        if self.has_aux_head != (self.embedding == "lvvit"):
            raise SettingError("LV-ViT has an auxiliary head and the other models have none; set has_aux_head so.")
        if self.embedding == "lite0" and self.patch_size != 16:
            raise SettingError(f"The EfficientNet-Lite0 stem has a patch_size of 16; got {self.patch_size}.")
        if self.embedding == "lite0" and not self.token_features:
            raise SettingError("The EfficientNet-Lite0 stem needs a token read-out; set token_features too.")
        if self.candidate_classes and not self.token_features:
            raise SettingError("Comparing answers (candidate_classes) needs a token read-out; set token_features too.")
        if self.prune_locations and self.embed_dim % 4:
            raise SettingError(f"The predictors need an embed_dim that 4 divides; got {self.embed_dim}.")
        ordered = sorted(set(self.prune_locations)) == list(self.prune_locations)
        if not ordered or any(not 0 <= location < self.depth for location in self.prune_locations):
            raise SettingError(
                f"prune_locations must be increasing block numbers from 0 to {self.depth - 1}; "
                f"got {self.prune_locations}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain values for JSON; :meth:`from_json` gives an equal one back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Return the description that :meth:`to_json` gave; fields that are not there have their defaults.

        Raises:
            SettingError: a field is unknown, or a value is of another type or not valid.
        """
        values = known_fields(cls, data)
        if "preprocessing" in values:
            values["preprocessing"] = Preprocessing(**known_fields(Preprocessing, values["preprocessing"]))
        return cls(**values)

    @property
    def num_patches(self) -> int:
        """Number of patch tokens at ``image_size``."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_stages(self) -> int:
        """Number of pruning stages; 0 for a dense model."""
        return len(self.prune_locations)
