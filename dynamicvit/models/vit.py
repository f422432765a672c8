"""The paper on one page: a vision transformer whose prediction modules drop tokens, stage by stage.

Rao et al. 2021, "DynamicViT" (arXiv 2106.02034). The arithmetic follows the released implementation, state-dict keys
are those of the authors' checkpoints, sections and equations are the paper's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn

from dynamicvit.models.base import (
    Choice,
    DynamicModel,
    KeepRatio,
    PartKind,
    SparseOutput,
    StageDecision,
    Start,
    TrainingOutput,
)
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.live_tokens import LiveTokens
from dynamicvit.models.selectors import (
    AttentionRecord,
    Observer,
    SelectionContext,
    TokenMerger,
    TokenSelector,
    create_selector,
    reduce_tokens,
)


def masked_softmax(scores: Tensor, policy: Tensor, eps: float = 1e-6) -> Tensor:
    """Return attention weights (B, H, T, T) over the keys that the policy keeps, in the dtype of ``scores``.

    Every token may always attend to itself. The result is differentiable in the policy, which is how the predictors
    learn; it is computed in float32.

    Args:
        scores: (B, H, T, T) scaled dot products.
        policy: (B, T), 1 for a token that is kept, 0 for one that is dropped, class token included.
        eps: keeps the quotient finite; part of the released models' arithmetic.

    Source: section 3.3, equations 10 and 11.
    """
    keys = policy[:, None, None, :].float()
    allowed = keys + (1.0 - keys) * torch.eye(scores.shape[-1], device=scores.device)
    scores32 = scores.float()
    weights = (scores32 - scores32.amax(dim=-1, keepdim=True)).exp() * allowed
    weights = (weights + eps / scores.shape[-1]) / (weights.sum(dim=-1, keepdim=True) + eps)
    return weights.to(scores.dtype)


def gumbel_choice(stage: int, log_probs: Tensor, keep_mask: Tensor, noise: Tensor | None = None) -> Tensor:
    """Return hard keep decisions (B, N) that gradients pass through; a dropped token never comes back.

    Gumbel-softmax at temperature 1 with the straight-through estimator: the value is 0 or 1 up to rounding (compare it
    with 0.5), the gradient is that of the soft choice.

    Args:
        stage: of no effect here.
        log_probs: (B, N, 2) log-probabilities; channel 0 is "keep".
        keep_mask: (B, N) decisions so far, 1 for alive.
        noise: (B, N, 2) Gumbel(0, 1) samples, drawn when not given.

    Source: section 3.2, equations 5 to 7.
    """
    if noise is None:
        choice = F.gumbel_softmax(log_probs, tau=1.0, hard=True, dim=-1)
    else:
        soft = (log_probs + noise).softmax(dim=-1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
        choice = hard - soft.detach() + soft
    return choice[..., 0] * keep_mask


class Attention(nn.Module):
    """Multi-head self-attention over (B, T, C): fused for inference, masked by a policy for training."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        policy: Tensor | None = None,
        *,
        key_bias: Tensor | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """Return the mixed tokens (B, T, C).

        Args:
            policy: (B, T), 1 for kept and 0 for dropped tokens; None where all are live.
            key_bias: (B, T), added to the scaled dot products with each key; of no effect beside a policy.
            observe: is given the queries and keys.
        """
        query, key, value = self.project(x)
        if observe is not None:
            observe(AttentionRecord(query, key))
        if policy is None:
            bias = None if key_bias is None else key_bias[:, None, None, :].to(query.dtype)
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:
            mixed = masked_softmax(query @ key.transpose(-2, -1) * self.scale, policy) @ value
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (B, H, T, d)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class Block(nn.Module):
    """Pre-norm transformer block over (B, T, C)."""

    def __init__(self, config: ModelConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.attn = Attention(dim, config.num_heads, qkv_bias=config.qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.residual_divisor = config.residual_divisor  # 1 in ViT and DeiT, 2 in LV-ViT

    def forward(
        self,
        x: Tensor,
        policy: Tensor | None = None,
        *,
        key_bias: Tensor | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """Return the transformed tokens (B, T, C); arguments as in :class:`Attention`."""
        x = self.add(x, self.attn(self.norm1(x), policy, key_bias=key_bias, observe=observe))
        return self.add(x, self.mlp(self.norm2(x)))

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """Return the residual sum."""
        branch = self.drop_path(branch)
        # A division by 1 would be a pass over all tokens of its own.
        return x + (branch if self.residual_divisor == 1 else branch / self.residual_divisor)

    def look_ahead(self, x: Tensor) -> AttentionRecord:
        """Return what this block's attention to (B, T, C) tokens would be computed from."""
        query, key, _ = self.attn.project(self.norm1(x))
        return AttentionRecord(query, key)


class TokenPredictor(nn.Module):
    """The prediction module: how likely each patch token is to be kept, from its own and the image's features.

    Source: section 3.2, equations 1 to 4.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # eps 1e-5 (PyTorch's default) in every family, also where the backbone's norms have 1e-6.
        self.in_conv = nn.Sequential(nn.LayerNorm(dim, eps=1e-5), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2),
            nn.GELU(),
            nn.Linear(dim // 2, dim // 4),
            nn.GELU(),
            nn.Linear(dim // 4, 2),
            nn.LogSoftmax(dim=-1),
        )

    def forward(self, patches: Tensor, keep_mask: Tensor | None = None) -> Tensor:
        """Return (B, n, 2) log-probabilities; channel 0 is "keep", channel 1 "drop".

        Args:
            patches: (B, n, C), class token excluded.
            keep_mask: (B, n), 1 for the tokens that the global feature averages; all of them when not given. With
                none alive the global feature is 0.
        """
        local, whole = self.in_conv(patches).chunk(2, dim=-1)
        if keep_mask is None:
            pooled = whole.mean(dim=1, keepdim=True)
        else:
            mask = keep_mask.unsqueeze(-1)
            # Any count is 0 or about 1 and more, so the floor changes nothing but 0/0.
            pooled = (whole * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp_min(1e-3)
        return self.out_conv(torch.cat([local, pooled.expand_as(local)], dim=-1))


class DynamicVisionTransformer(DynamicModel):
    """A vision transformer (ViT, DeiT) with prediction modules that drop tokens before given blocks.

    Other families override :meth:`make_embedding`, :meth:`make_block`, :meth:`classify` and :meth:`training_outputs`.
    """

    def __init__(self, config: ModelConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__(config, class_names)
        dim = config.embed_dim
        drop_path_rates = torch.linspace(0, config.drop_path_rate, config.depth, device="cpu").tolist()
        self.patch_embed = self.make_embedding()
        self.cls_token = nn.Parameter(trunc_normal_(torch.zeros(1, 1, dim), std=0.02))
        self.pos_embed = nn.Parameter(trunc_normal_(torch.zeros(1, config.num_patches + 1, dim), std=0.02))
        self.blocks = nn.ModuleList(self.make_block(rate) for rate in drop_path_rates)
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.head = nn.Linear(dim, config.num_classes)
        self.score_predictor = nn.ModuleList(TokenPredictor(dim) for _ in config.prune_locations)
        self.apply(self.initialise)

    def make_embedding(self) -> nn.Module:
        """Return what turns (B, 3, H, W) images into a grid of tokens (B, C, rows, columns)."""
        return PatchEmbedding(self.config.patch_size, self.config.embed_dim)

    def make_block(self, drop_path: float) -> nn.Module:
        """Return one transformer block."""
        return Block(self.config, drop_path)

    @property
    def _first_stage(self) -> int:
        """The block before which tokens are first dropped, the number of blocks where none are."""
        return next(iter(self.config.prune_locations), self.config.depth)

    def start(self, images: Tensor) -> Start:
        """Return the tokens that reach the first stage, or all blocks' where there is none."""
        tokens, grid = self.embed(images)
        attention: list[AttentionRecord] = []
        for index in range(self._first_stage):
            observe = attention.append if index + 1 in self.config.prune_locations else None
            tokens = self.blocks[index](tokens, observe=observe)
        return Start(tokens, grid, attention[0] if attention else None)

    def forward_stages(
        self,
        images: Tensor | Start,
        keep_ratio: KeepRatio | None = None,
        selector: TokenSelector | TokenMerger | None = None,
    ) -> SparseOutput:
        """Return the prediction and which tokens every stage kept; dropped tokens are not computed on."""
        budget = self.checked_budget(keep_ratio)
        locations = () if budget is None else self.config.prune_locations
        selector = selector or create_selector(self.selectors[0])
        start = images if isinstance(images, Start) else self.start(images)
        grid, live = start.grid, LiveTokens.all_of(start.tokens, self.config.num_prefix_tokens)
        stages: list[StageDecision] = []
        attention = deque([start.attention] if start.attention else [], maxlen=1)  # of the block before
        for index, block in islice(enumerate(self.blocks), self._first_stage, None):
            if budget is not None and index in locations:
                stage = len(stages)
                context = SelectionContext(
                    stage=stage,
                    live=live,
                    grid=grid,
                    predict=partial(self.score, stage),
                    attention=partial(_record, attention, block, live.tokens),
                    has_class_token=self.config.has_class_token,
                )
                count = partial(budget.count, stage, self.config.schedule, grid[0] * grid[1])
                arrived, (live, scores) = live, reduce_tokens(context, selector, count)
                stages.append(StageDecision(index, arrived.patches, scores, live.patches, live.groups))
            observe = attention.append if index + 1 in locations else None
            live = replace(live, tokens=block(live.tokens, key_bias=live.key_bias, observe=observe))
        tokens = self.norm(live.tokens)
        return SparseOutput(self.classify(tokens, live.sizes), tuple(stages), grid, tokens)

    def forward_training(self, images: Tensor, choose: Choice = gumbel_choice) -> TrainingOutput:
        """Return what the losses need: all tokens go through all blocks, and decisions mask attention.

        Args:
            images: (B, 3, H, W), normalised.
            choose: makes each stage's decisions.

        Source: sections 3.2 and 3.3.
        """
        return self.train_tokens(self.embed(images)[0], choose)

    def train_tokens(self, tokens: Tensor, choose: Choice = gumbel_choice) -> TrainingOutput:
        """Return the rest of :meth:`forward_training`, from embedded (B, 1 + N, C) tokens."""
        prefix = self.config.num_prefix_tokens
        keep_mask = tokens.new_ones(tokens.shape[0], tokens.shape[1] - prefix)
        policy = None  # until something is dropped
        decisions: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            if index in self.config.prune_locations:
                log_probs = self.score(len(decisions), tokens[:, prefix:], keep_mask)  # eq. 1 to 4
                keep_mask = choose(len(decisions), log_probs, keep_mask)  # eq. 5 to 7
                policy = F.pad(keep_mask, (prefix, 0), value=1.0)
                decisions.append(keep_mask)
            tokens = block(tokens, policy)  # eq. 10 and 11
        return TrainingOutput(*self.training_outputs(self.norm(tokens), keep_mask), tuple(decisions))

    def transform(self, tokens: Tensor) -> Tensor:
        """Return (B, T, C) embedded tokens after all blocks, nothing dropped, and the final norm."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return (B, 3, H, W) images as (B, 1 + N, C) tokens with positions, and the grid's rows and columns.

        Raises:
            ImageError: the images have a shape or type that the model cannot take.
        """
        self.check_images(images)
        feature_map = self.patch_embed(images)
        return self.add_class_token(feature_map), (feature_map.shape[2], feature_map.shape[3])

    def add_class_token(self, feature_map: Tensor) -> Tensor:
        """Return (B, C, rows, columns) as (B, 1 + N, C): row by row, class token in front, positions added."""
        rows, columns = feature_map.shape[2:]
        side = self.config.image_size // self.config.patch_size
        positions: Tensor = self.pos_embed
        if (rows, columns) != (side, side):
            positions = resample_abs_pos_embed(positions, [rows, columns], [side, side], num_prefix_tokens=1)
        patches = feature_map.flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + positions

    def score(self, stage: int, patches: Tensor, keep_mask: Tensor | None = None) -> Tensor:
        """Return the stage's (B, n, 2) log-probabilities; arguments as in :class:`TokenPredictor`."""
        return self.score_predictor[stage](patches, keep_mask)

    def classify(self, tokens: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return (B, classes) logits from (B, 1 + n, C) final-norm tokens, class token first.

        Args:
            sizes: (B, n) number of patches that each token counts for, 1 each when not given; of no effect where the
                class token alone answers, as here.
        """
        return self.head(tokens[:, 0])

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Return (B, classes) logits of what :meth:`forward_features` gave, under timm's name."""
        return self.classify(tokens)

    def training_outputs(self, tokens: Tensor, keep_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and what is distilled at every token, from (B, 1 + N, C) final-norm tokens.

        Args:
            keep_mask: (B, N) decisions of the last stage; None where nothing was dropped.
        """
        return self.classify(tokens, keep_mask), tokens[:, self.config.num_prefix_tokens :]

    def parts(self) -> Iterator[tuple[PartKind, int | None, nn.Module]]:
        """Yield each part that costs something: its kind, its number if there are several, and its module.

        Blocks are numbered from 0, predictors by their stage from 1.
        """
        yield "stem", None, self.patch_embed
        yield from (("predictor", stage, module) for stage, module in enumerate(self.score_predictor, 1))
        yield from (("block", index, module) for index, module in enumerate(self.blocks))
        yield from (("read-out", None, module) for module in self.read_out)

    @property
    def read_out(self) -> list[nn.Module]:
        """The modules after the last block."""
        return [self.norm, self.head]

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Set a linear layer to fresh weights as the authors do; other modules keep PyTorch's."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _record(attention: Sequence[AttentionRecord], block: Any, tokens: Tensor) -> AttentionRecord:
    """Return what the block before recorded; before the first block, what that block's attention would be made of."""
    return attention[0] if attention else block.look_ahead(tokens)


class PatchEmbedding(nn.Module):
    """One convolution whose kernel is the patch (ViT, DeiT)."""

    def __init__(self, patch_size: int, embed_dim: int, *, bias: bool = True) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, rows, columns) for (B, 3, H, W) images."""
        return self.proj(images)
