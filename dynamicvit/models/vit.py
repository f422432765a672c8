"""The vision transformer that drops tokens: one class for DeiT, LV-ViT and hybrids, dense or pruned."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import cast

import torch
from timm.layers import resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn

from dynamicvit.errors import ImageError
from dynamicvit.labels import checked_class_names
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.embeddings import create_embedding, undilated_places
from dynamicvit.models.layers import AttentionRecord, Block
from dynamicvit.models.predictor import AnswerPredictor, FirstAnswer, TokenPredictor
from dynamicvit.models.readout import TokenReadout
from dynamicvit.tokens.reduction import LiveTokens, reduce_tokens
from dynamicvit.tokens.schedule import KeepMass, TokenBudget, stage_budgets
from dynamicvit.tokens.selection import hold_share, sample_keep_mask
from dynamicvit.tokens.selectors import PredictorSelector, SelectionContext, TokenMerger, TokenSelector

AUX_WEIGHT = 0.5


@dataclass(frozen=True)
class StageDecision:
    """What one pruning stage decided, for every image of the batch.

    Attributes:
        block: the block before which tokens were dropped, 0-based.
        live_patches: (B, n) int64, original patch index of each token that reached the stage, in sequence order.
        keep_scores: (B, n) score of each of them; for the model's own predictors the log-probability of keeping, for
            merging the share that each has in the token that it goes into.
        kept_patches: (B, K) int64, original patch indices of the tokens that stay, best score first; of a merged token
            one of its patches.
        groups: (B, N) int64, for each original patch the position in ``kept_patches`` of the token that stands for it;
            None unless tokens were merged.
    """

    block: int
    live_patches: Tensor
    keep_scores: Tensor
    kept_patches: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True)
class SparseOutput:
    """A prediction and the record of how its tokens were chosen.

    Attributes:
        logits: (B, classes).
        stages: one decision for each pruning stage; empty when the model ran dense.
        grid: rows and columns of the patch grid; patch ``p`` is at row ``p // columns``, column ``p % columns``.
        final_tokens: (B, 1 + K, C) after the last norm, class token first, then the last stage's kept tokens.
    """

    logits: Tensor
    stages: tuple[StageDecision, ...]
    grid: tuple[int, int]
    final_tokens: Tensor


@dataclass(frozen=True)
class TrainingOutput:
    """What the training losses need.

    Attributes:
        logits: (B, classes) without the auxiliary head's share, as the losses take them.
        token_outputs: (B, N, C) final-norm patch tokens, or with an auxiliary head its (B, N, classes) logits.
        decisions: for each stage (B, N) keep decisions, 1 or 0 up to rounding, with gradient.
        keep_scores: for each stage (B, N) log-odds of keeping, as its predictor gives them, with gradient.
    """

    logits: Tensor
    token_outputs: Tensor
    decisions: tuple[Tensor, ...]
    keep_scores: tuple[Tensor, ...]


class DynamicVisionTransformer(nn.Module):
    """A vision transformer with prediction modules that drop tokens at given blocks.

    The keep ratio and the selector are arguments of each call, so one model can serve several callers at once.
    State-dict keys are those of the authors' checkpoints.

    Args:
        config: its description.
        class_names: one for each class; ImageNet's for 1000 classes or else "class 0" and so on when not given.

    Source: Rao et al. 2021 (arXiv 2106.02034); the arithmetic follows the released implementation.
    """

    def __init__(self, config: ModelConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.config = config
        self.class_names = checked_class_names(class_names, config.num_classes)
        dim = config.embed_dim
        self.patch_embed = create_embedding(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.num_patches + 1, dim))
        drop_path_rates = torch.linspace(0, config.drop_path_rate, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                norm_eps=config.norm_eps,
                residual_divisor=config.residual_divisor,
                drop_path=rate,
            )
            for rate in drop_path_rates
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.head = nn.Linear(dim, config.num_classes)
        self.score_predictor = nn.ModuleList(
            AnswerPredictor(dim, config.num_classes, config.candidate_classes)
            if config.candidate_classes
            else TokenPredictor(dim)
            for _ in config.prune_locations
        )
        self.first_answer = FirstAnswer() if config.candidate_classes else None
        self.aux_head = nn.Linear(dim, config.num_classes) if config.has_aux_head else None
        self.token_readout = (
            TokenReadout(dim, config.token_features, config.num_classes) if config.token_features else None
        )
        self._initialise()

    def forward(
        self,
        images: Tensor,
        keep_ratio: TokenBudget | None = None,
        selector: TokenSelector | TokenMerger | None = None,
    ) -> Tensor:
        """Classify images; arguments as in :meth:`forward_stages`.

        Returns:
            (B, classes) logits.
        """
        return self.forward_stages(images, keep_ratio, selector).logits

    def forward_stages(
        self,
        images: Tensor,
        keep_ratio: TokenBudget | None = None,
        selector: TokenSelector | TokenMerger | None = None,
    ) -> SparseOutput:
        """Classify images and record which tokens every stage kept; dropped tokens are not computed on.

        Args:
            images: (B, 3, H, W), normalised; H and W are multiples of the patch size.
            keep_ratio: base ratio in (0, 1], one ratio for each stage, or a :class:`KeepMass` that lets each stage
                decide by its scores; None runs the model dense, without its predictors.
            selector: what scores the tokens, or merges them instead; the model's own predictors when not given.

        Raises:
            ImageError: the images have a shape that the model cannot take.
            SettingError: the keep ratio is not valid or does not go with the selector or the number of images, or the
                model has no pruning stages.
        """
        tokens, grid = self.embed(images)
        budgets = self._budgets(keep_ratio, grid[0] * grid[1])
        selector = selector or PredictorSelector()
        live = LiveTokens.all_of(tokens)
        stages: list[StageDecision] = []
        attention: deque[AttentionRecord] = deque(maxlen=1)
        first_answer = self._first_answer_of(tokens, grid)
        for index, block in enumerate(self.blocks):
            if index in budgets:
                context = self._context(len(stages), live, grid, first_answer, attention[0] if attention else None)
                arrived, (live, scores) = live, reduce_tokens(live, context, selector, budgets[index])
                stages.append(StageDecision(index, arrived.patches, scores, live.patches, live.groups))
            observe = attention.append if index + 1 in budgets else None
            live = replace(live, tokens=block(live.tokens, key_bias=live.key_bias, observe=observe))
        tokens = self.norm(live.tokens)
        return SparseOutput(self.read_out(tokens, live.sizes), tuple(stages), grid, tokens)

    def forward_training(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> TrainingOutput:
        """Run all tokens through all blocks, with Gumbel-softmax decisions that mask attention.

        Args:
            images: (B, 3, H, W), normalised.
            noise: for each stage (B, N, 2) Gumbel(0, 1) samples; drawn when not given.

        Source: Rao et al. 2021, sections 3.2 and 3.3.
        """
        tokens, grid = self.embed(images)
        return self.train_on_tokens(tokens, grid, noise)

    def train_on_tokens(
        self,
        tokens: Tensor,
        grid: tuple[int, int],
        noise: Sequence[Tensor] | None = None,
        shares: Sequence[float] | None = None,
        noise_scale: float = 1.0,
    ) -> TrainingOutput:
        """The rest of :meth:`forward_training`, from embedded (B, 1 + N, C) tokens.

        Args:
            grid: rows and columns of the patch tokens.
            shares: for each stage the share of tokens to keep on average, whatever the predictors' level; their own
                level when not given, as in the paper.
            noise_scale: how much the noise counts against the scores; 1 is the paper's, towards 0 the choice becomes
                that of inference, the highest scores.
        """
        batch, num_patches = tokens.shape[0], tokens.shape[1] - 1
        keep_mask = tokens.new_ones(batch, num_patches)
        policy = tokens.new_ones(batch, num_patches + 1)
        decisions: list[Tensor] = []
        keep_scores: list[Tensor] = []
        first_answer = self._first_answer_of(tokens, grid)
        for index, block in enumerate(self.blocks):
            if index in self.config.prune_locations:
                stage = len(decisions)
                log_probs = self._predict(stage, first_answer, tokens[:, 1:], keep_mask)
                keep_scores.append(log_probs[..., 0] - log_probs[..., 1])
                log_probs = log_probs / noise_scale
                if shares is not None:
                    log_probs = hold_share(log_probs, keep_mask, shares[stage])
                keep_mask = sample_keep_mask(log_probs, keep_mask, None if noise is None else noise[stage])
                policy = torch.cat([policy[:, :1], keep_mask], dim=1)
                decisions.append(keep_mask)
            tokens = block(tokens, policy)
        tokens = self.norm(tokens)
        patches = tokens[:, 1:]
        logits = self.head(tokens[:, 0])
        if self.token_readout is not None:
            logits = logits + self.token_readout(patches, keep_mask)
        token_outputs = patches if self.aux_head is None else self.aux_head(patches)
        return TrainingOutput(logits, token_outputs, tuple(decisions), tuple(keep_scores))

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn (B, 3, H, W) images into (B, 1 + N, C) tokens with positions, and give the grid's rows and columns."""
        patch = self.config.patch_size
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"Images must have the shape (B, 3, H, W); got {tuple(images.shape)}.")
        height, width = images.shape[2:]
        if height < patch or width < patch or height % patch or width % patch:
            raise ImageError(f"The image size must be a multiple of {patch} pixels; got {height} x {width}.")
        feature_map = self.patch_embed(images)
        return self.add_class_token(feature_map), (feature_map.shape[2], feature_map.shape[3])

    def add_class_token(self, feature_map: Tensor) -> Tensor:
        """Flatten (B, C, rows, columns) row by row, put the class token in front, add positions: (B, 1 + N, C)."""
        patches = feature_map.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self._positions(feature_map.shape[2], feature_map.shape[3])

    def _positions(self, rows: int, columns: int) -> Tensor:
        side = self.config.image_size // self.config.patch_size
        if (rows, columns) == (side, side):
            return self.pos_embed
        return resample_abs_pos_embed(self.pos_embed, [rows, columns], [side, side], num_prefix_tokens=1)

    def _budgets(self, keep_ratio: TokenBudget | None, num_patches: int) -> dict[int, int | KeepMass]:
        """Give what each pruning block keeps; empty when the model is to run dense."""
        if keep_ratio is None:
            return {}
        budgets = stage_budgets(keep_ratio, self.config.num_stages, num_patches)
        return dict(zip(self.config.prune_locations, budgets, strict=True))

    def _context(
        self,
        stage: int,
        live: LiveTokens,
        grid: tuple[int, int],
        first_answer: Callable[[], Tensor],
        attention: AttentionRecord | None,
    ) -> SelectionContext:
        """Give what a selector may look at; ``attention`` is that of the block before, None before the first block."""

        def record() -> AttentionRecord:
            return attention or cast(Block, self.blocks[0]).look_ahead(live.tokens)

        return SelectionContext(
            stage=stage,
            tokens=live.tokens[:, 1:],
            live_patches=live.patches,
            grid=grid,
            predict=partial(self._predict, stage, first_answer),
            class_attention=lambda: record().class_weights(),
            keys=lambda: record().patch_keys(),
            sizes=live.patch_sizes,
        )

    def _first_answer_of(self, tokens: Tensor, grid: tuple[int, int]) -> Callable[[], Tensor]:
        """Give what reads the first answer out of (B, 1 + N, C) embedded tokens, when a predictor first asks for it."""

        @cache
        def first_answer() -> Tensor:
            sample = undilated_places(tokens[:, 1:], grid)
            return cast(FirstAnswer, self.first_answer)(self.norm_early(sample), self.token_readout)

        return first_answer

    def _predict(
        self, stage: int, first_answer: Callable[[], Tensor], patches: Tensor, keep_mask: Tensor | None = None
    ) -> Tensor:
        """Give (B, n, 2) log-probabilities of keeping and dropping the (B, n, C) patch tokens that reach a stage.

        Args:
            first_answer: gives what answer predictors compare with.
            keep_mask: (B, n), 1 for the live ones; all of them when not given.
        """
        predictor = self.score_predictor[stage]
        if self.first_answer is None:
            return predictor(patches, keep_mask)
        return predictor(self.norm_early(patches), first_answer())

    def norm_early(self, tokens: Tensor) -> Tensor:
        """Bring (B, n, C) tokens from between the blocks to where the read-out understands them.

        They get the last block's constant output before the last norm; in models that were distilled from a
        convolutional network it sets the norm's scale (:mod:`dynamicvit.training.start`).
        """
        return self.norm(tokens + cast(Block, self.blocks[-1]).mlp.fc2.bias)

    def run_blocks(self, tokens: Tensor) -> Tensor:
        """Run (B, T, C) embedded tokens dense through all blocks and the final norm."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def read_out(self, tokens: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Turn final-norm tokens, class token first, into (B, classes) logits.

        Args:
            tokens: (B, 1 + n, C).
            sizes: (B, n), number of patches that each merged token stands for; 1 for all when not given.
        """
        logits = self.head(tokens[:, 0])
        if self.token_readout is not None:
            logits = logits + self.token_readout(tokens[:, 1:], sizes)
        if self.aux_head is not None:
            logits = logits + AUX_WEIGHT * self.aux_head(tokens[:, 1:]).amax(dim=1)
        return logits

    def _initialise(self) -> None:
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
