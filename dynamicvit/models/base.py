"""What every model can be asked, whatever its family, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn

from dynamicvit.budget import Budget, as_budget
from dynamicvit.errors import CheckpointError, ImageError, SettingError
from dynamicvit.labels import checked_class_names
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.selectors import SELECTORS, AttentionRecord, TokenMerger, TokenSelector

KeepRatio = float | tuple[float, ...] | Budget
Choice = Callable[[int, Tensor, Tensor], Tensor]
"""How training chooses: stage, (B, N, 2) log-probabilities, (B, N) tokens that may be kept -> (B, N) decisions."""
PartKind = Literal["stem", "predictor", "block", "read-out"]


@dataclass(frozen=True)
class StageDecision:
    """What one pruning stage decided, for every image of the batch.

    In token models the other tokens are dropped and never come back: each stage chooses among what the one before it
    kept. In the hierarchical models (ConvNeXt, Swin) nothing is dropped: "kept" are the positions that take the slow
    path of the following blocks, the others take the fast path, and every stage divides all positions anew.

    Attributes:
        block: the block before which tokens were dropped or divided, 0-based; in the hierarchical models of the third
            of their four parts.
        live_patches: (B, n) int64, original patch index of each token that reached the stage, in sequence order.
        keep_scores: (B, n) score of each of them; for the model's own predictors the log-probability of keeping, for
            merging the share that each has in the token that it goes into.
        kept_patches: (B, K) int64, original patch indices of the tokens that stay, best score first; of a merged token
            one of its patches.
        groups: (B, N) int64, for each original patch the position in ``kept_patches`` of the token that stands for it;
            None unless tokens were merged.
        fast_patches: (B, N - K) int64, the positions of the fast path, best score first; None in token models.
    """

    block: int
    live_patches: Tensor
    keep_scores: Tensor
    kept_patches: Tensor
    groups: Tensor | None = None
    fast_patches: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """The part of a pass before its first stage, which no keep ratio changes; any number of passes can go on from it.

    Attributes:
        tokens: (B, P + N, C) that reach the first stage; in the hierarchical models (B, N, C), without a prefix.
        grid: rows and columns of the patch grid.
        attention: of the block just before the stage; None where there is none.
    """

    tokens: Tensor
    grid: tuple[int, int]
    attention: AttentionRecord | None


@dataclass(frozen=True)
class SparseOutput:
    """A prediction and the record of how its tokens were chosen.

    Attributes:
        logits: (B, classes).
        stages: one decision for each pruning stage; empty when the model ran dense.
        grid: rows and columns of the patch grid; patch ``p`` is at row ``p // columns``, column ``p % columns``.
        final_tokens: (B, 1 + K, C) after the last norm, class token first, then the last stage's kept tokens; in the
            hierarchical models the (B, N / 4, C) positions of the last map.
    """

    logits: Tensor
    stages: tuple[StageDecision, ...]
    grid: tuple[int, int]
    final_tokens: Tensor

    def checked(self) -> Self:
        """Return this output.

        Raises:
            CheckpointError: its logits are not finite, or scores are not numbers.
        """
        scores = [stage.keep_scores for stage in self.stages]
        if not self.logits.isfinite().all() or any(score.isnan().any() for score in scores):
            raise CheckpointError(
                "The model computes numbers that are not finite, so this is no answer; its weights are damaged, too "
                f"large for {self.logits.dtype}, or of another model: use another file."
            )
        return self


@dataclass(frozen=True)
class TrainingOutput:
    """What the training losses need.

    Attributes:
        logits: (B, classes).
        token_outputs: (B, N, C) final-norm patch tokens, or what else a family distils: LV-ViT class scores at every
            token, the hierarchical models the (B, N / 4, C) final-norm positions of the last map.
        decisions: for each stage (B, N) keep decisions, 1 or 0 up to rounding, with gradient.
    """

    logits: Tensor
    token_outputs: Tensor
    decisions: tuple[Tensor, ...]


class DynamicModel(
    nn.Module,
    ModelHubMixin,
    ABC,
    library_name="dynamicvit",
    pipeline_tag="image-classification",
    paper_url="https://arxiv.org/abs/2106.02034",
    tags=["token-pruning", "vision-transformer"],
):
    """A classifier that computes less where less is needed.

    The keep ratio and the selector are arguments of each call, so one model can serve several callers at once.
    ``save_pretrained(folder)``, ``push_to_hub("ORG/NAME")`` and ``DynamicModel.from_pretrained(folder or "ORG/NAME")``
    are those of huggingface_hub; the weight file says itself which model it holds.

    Args:
        config: its description.
        class_names: one for each class; ImageNet's for 1000 classes or else "class 0" and so on when not given.
    """

    def __init__(self, config: ModelConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.config = config
        self.class_names = checked_class_names(class_names, config.num_classes)

    def _save_pretrained(self, save_directory: Path) -> None:
        from dynamicvit.weights.io import save_model

        save_model(self, save_directory / SAFETENSORS_SINGLE_FILE)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: object,
    ) -> DynamicModel:
        from dynamicvit.weights.io import load_file

        if Path(model_id).is_dir():
            return load_file(Path(model_id) / SAFETENSORS_SINGLE_FILE)
        path = hf_hub_download(
            model_id,
            SAFETENSORS_SINGLE_FILE,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return load_file(path)

    def forward(
        self,
        images: Tensor,
        keep_ratio: KeepRatio | None = None,
        selector: TokenSelector | TokenMerger | None = None,
    ) -> Tensor:
        """Return (B, classes) logits; arguments as in :meth:`forward_stages`."""
        return self.forward_stages(images, keep_ratio, selector).logits

    @abstractmethod
    def start(self, images: Tensor) -> Start:
        """Return the part of a pass that :meth:`forward_stages` can go on from with any keep ratio.

        Raises:
            ImageError: the images have a shape or type that the model cannot take.
        """

    @abstractmethod
    def forward_stages(
        self,
        images: Tensor | Start,
        keep_ratio: KeepRatio | None = None,
        selector: TokenSelector | TokenMerger | None = None,
    ) -> SparseOutput:
        """Return the prediction and which tokens every stage kept.

        Args:
            images: (B, 3, H, W), normalised; H and W are multiples of ``config.size_multiple``. Or what :meth:`start`
                gave for them.
            keep_ratio: base ratio in (0, 1], one ratio for each stage, or a :class:`~dynamicvit.budget.Budget`; None
                runs the model dense, without its predictors.
            selector: what scores the tokens, or merges them instead; the first of :attr:`selectors` when not given.

        Raises:
            ImageError: the images have a shape that the model cannot take.
            SettingError: the keep ratio is not valid or does not go with the selector or the number of images, the
                model has no pruning stages, or it cannot be asked by this selector.
        """

    @abstractmethod
    def forward_training(self, images: Tensor, choose: Choice) -> TrainingOutput:
        """Return what the losses need: everything is computed for all tokens, and decisions mask it.

        Args:
            images: (B, 3, H, W), normalised.
            choose: makes each stage's decisions.
        """

    @abstractmethod
    def parts(self) -> Iterator[tuple[PartKind, int | None, nn.Module]]:
        """Yield each part that costs something: its kind, its number if there are several, and its module.

        Blocks are numbered from 0, predictors by their stage from 1. Several modules may make one part.
        """

    @staticmethod
    @abstractmethod
    def initialise(module: nn.Module) -> None:
        """Set a module to fresh weights as the authors do."""

    @property
    def selectors(self) -> tuple[str, ...]:
        """Names of the selectors that this model can be asked by, its default first."""
        return tuple(SELECTORS)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """How images are prepared, in timm's words, for ``timm.data.resolve_model_data_config``."""
        side, given = self.config.image_size, self.config.preprocessing
        return {
            "input_size": (3, side, side),
            "crop_pct": given.crop_ratio,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": given.mean,
            "std": given.std,
            "num_classes": self.config.num_classes,
        }

    def forward_features(self, images: Tensor, keep_ratio: KeepRatio | None = None) -> Tensor:
        """Return the (B, T, C) final-norm tokens of (B, 3, H, W) images, under timm's name; dense without a ratio."""
        return self.forward_stages(images, keep_ratio).final_tokens

    @property
    def num_features(self) -> int:
        """Width of what the classifier reads, under timm's name."""
        return self.config.num_features

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives scores to classes, under timm's name."""
        return cast(nn.Module, self.head)

    def reset_classifier(self, num_classes: int, class_names: Sequence[str] | None = None) -> None:
        """Put fresh layers for other classes in the place of the classifier's, under timm's name.

        Args:
            class_names: one for each class; as for :func:`dynamicvit.create_model`.

        Raises:
            SettingError: the model cannot have so many classes, or there is not one name for each.
        """
        config = replace(self.config, num_classes=num_classes)
        self.class_names = checked_class_names(class_names, num_classes)
        self.config = config
        for name in ("head", "head_dist", "aux_head"):
            if hasattr(self, name):
                head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
                setattr(self, name, head.apply(self.initialise).to(self.device).train(self.training))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def precision(self) -> str:
        """What most of it is computed in, for people: "bfloat16" where some weights are, else "float32"."""
        is_rounded = any(weight.dtype == torch.bfloat16 for weight in self.parameters())
        return "bfloat16" if is_rounded else "float32"

    def checked_budget(self, keep_ratio: KeepRatio | None) -> Budget | None:
        """Return the budget that a caller means, None for a dense pass.

        Raises:
            SettingError: it is not valid, or not for this model.
        """
        if keep_ratio is None:
            return None
        budget = as_budget(keep_ratio)
        budget.check(self.config.schedule)
        return budget

    def check_classifier(self) -> None:
        """Raise a SettingError unless the model gives scores to classes."""
        if not self.config.num_classes:
            raise SettingError(
                "This model has no classifier and so no answer; choose one that was trained to classify."
            )

    def check_images(self, images: Tensor) -> None:
        """Raise an ImageError unless these are images of a shape and type that the model can take."""
        multiple = self.config.size_multiple
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"Images must have the shape (B, 3, H, W); got {tuple(images.shape)}.")
        if not images.is_floating_point():
            raise ImageError(f"Images must be normalised floating-point numbers; got {images.dtype}.")
        height, width = images.shape[2:]
        if height < multiple or width < multiple or height % multiple or width % multiple:
            raise ImageError(f"The image size must be a multiple of {multiple} pixels; got {height} x {width}.")
