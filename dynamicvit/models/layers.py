"""The transformer block, with fused attention for inference and masked attention for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

POLICY_EPS = 1e-6


def masked_softmax(scores: Tensor, policy: Tensor, eps: float = POLICY_EPS) -> Tensor:
    """Softmax over the keys that the policy keeps; every token may always attend to itself.

    The result is differentiable in the policy, which is how the predictors learn. Computed in float32. With every
    other key dropped a row is (almost) the token's attention to itself, so there is no division by zero.

    Args:
        scores: (B, H, T, T) scaled dot products.
        policy: (B, T) 1 for a token that is kept, 0 for one that is dropped, class token included.
        eps: keeps the quotient finite; part of the released models' arithmetic.

    Returns:
        (B, H, T, T) attention weights, in the dtype of ``scores``.

    Source: Rao et al. 2021, section 3.3, equations 10 and 11; eps as in the authors' code.
    """
    keys = policy[:, None, None, :].float()
    eye = scores.new_ones(scores.shape[-1], dtype=keys.dtype).diag()
    allowed = keys + (1.0 - keys) * eye
    scores32 = scores.float()
    weights = (scores32 - scores32.amax(dim=-1, keepdim=True)).exp() * allowed
    weights = (weights + eps / scores.shape[-1]) / (weights.sum(dim=-1, keepdim=True) + eps)
    return weights.to(scores.dtype)


@dataclass(frozen=True)
class AttentionRecord:
    """What one block's attention was computed from, class token first.

    Fused attention never forms the weights; from this the few that somebody asks for are computed apart.

    Attributes:
        query, key: (B, H, T, d).
    """

    query: Tensor
    key: Tensor

    def class_weights(self) -> Tensor:
        """(B, T - 1) weights of the class token's attention to the patch tokens, mean over heads."""
        scores = self.query[:, :, :1] @ self.key.transpose(-2, -1) * self.query.shape[-1] ** -0.5
        return scores.softmax(dim=-1)[:, :, 0, 1:].mean(dim=1)

    def patch_keys(self) -> Tensor:
        """(B, T - 1, d) keys of the patch tokens, mean over heads."""
        return self.key[:, :, 1:].mean(dim=1)


Observer = Callable[[AttentionRecord], None]


class Attention(nn.Module):
    """Multi-head self-attention over (B, T, C)."""

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
        """Attend; with a ``policy`` (B, T) dropped tokens are masked as keys, without one all tokens are live.

        Args:
            key_bias: (B, T), added to the scaled dot products with each key; of no effect beside a policy.
            observe: is given the queries and keys.
        """
        query, key, value = self.project(x)
        if observe is not None:
            observe(AttentionRecord(query, key))
        if policy is None:
            bias = None if key_bias is None else key_bias[:, None, None, :]
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:
            mixed = masked_softmax(query @ key.transpose(-2, -1) * self.scale, policy) @ value
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries, keys and values, each (B, H, T, d)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class Block(nn.Module):
    """Pre-norm transformer block over (B, T, C); each residual branch is divided by ``residual_divisor``."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        qkv_bias: bool,
        norm_eps: float,
        residual_divisor: float = 1.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.residual_divisor = residual_divisor

    def forward(
        self,
        x: Tensor,
        policy: Tensor | None = None,
        *,
        key_bias: Tensor | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """Mix and transform the tokens; arguments as in :class:`Attention`."""
        mixed = self.attn(self.norm1(x), policy, key_bias=key_bias, observe=observe)
        x = x + self.drop_path(mixed) / self.residual_divisor
        return x + self.drop_path(self.mlp(self.norm2(x))) / self.residual_divisor

    def look_ahead(self, x: Tensor) -> AttentionRecord:
        """Give what this block's attention would be computed from."""
        query, key, _ = self.attn.project(self.norm1(x))
        return AttentionRecord(query, key)
