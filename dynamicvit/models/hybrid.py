"""The shipped hybrid: EfficientNet-Lite0 as the stem, and parts of its own that the paper does not have.

All that only this hybrid needs stands in this file: its stem, a read-out that averages patch tokens, and prediction
modules that compare answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicvit.models.base import PartKind
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.vit import Block, DynamicVisionTransformer, TokenPredictor

LITE0_CHANNELS = 320
# How much less sure than it is the first answer is taken to be. It leaves more tokens to what else is in the image.
SOFTNESS = 1.2


class Lite0Stem(nn.Module):
    """All seven stages of EfficientNet-Lite0 at output stride 16, then a linear map to the tokens.

    Modules keep timm's names, so the weights of ``tf_efficientnet_lite0`` load into them by key.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=16)
        self.conv_stem = network.conv_stem
        self.bn1 = network.bn1
        self.blocks = network.blocks
        self.proj = nn.Conv2d(LITE0_CHANNELS, embed_dim, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        """Return the stem's own feature map, (B, 320, rows, columns), before it becomes tokens."""
        # On a CPU its depthwise convolutions take half the time in this layout.
        images = images.contiguous(memory_format=torch.channels_last)
        return self.blocks(self.bn1(self.conv_stem(images)))

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, rows, columns) for (B, 3, H, W) images."""
        return self.proj(self.features(images))


def stride32_positions(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return every second row and column of (B, N, C) patch tokens: all that Lite0 would compute at its own stride.

    A quarter of the tokens, and as they are what its weights were trained for, their mean answers as well as that of
    all. With "same" padding they are the odd rows of an even number and the even ones of an odd number.
    """
    rows, columns = grid
    by_row = patches.reshape(patches.shape[0], rows, columns, patches.shape[2])
    return by_row[:, 1 - rows % 2 :: 2, 1 - columns % 2 :: 2].flatten(1, 2)


class TokenReadout(nn.Module):
    """Class logits from a weighted mean of per-token features; the weights say which positions matter.

    With zero importance weights it is the plain mean that ends a convolutional network, whose last layers fit into
    ``features`` and ``classifier``.
    """

    def __init__(self, dim: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.importance = nn.Linear(dim, 1)
        self.features = nn.Linear(dim, width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, patches: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return (B, classes) logits for (B, n, C) patch tokens.

        Args:
            patches: after the last norm.
            counts: (B, n), how many times each token counts: a keep mask, or the number of patches that a merged token
                stands for; 1 for all when not given.
        """
        weights = self.importance(patches).squeeze(-1).float().softmax(dim=-1)
        if counts is not None:
            weights = weights * counts
            weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        pooled = weights.to(patches.dtype).unsqueeze(1) @ F.relu6(self.features(patches))
        return self.classifier(pooled.squeeze(1))


class FirstAnswer(nn.Module):
    """An early answer for the whole image: what the token read-out makes of tokens before the first block.

    It has no weights of its own. It is a module so that its cost is seen, which is part of the predictors' cost.
    """

    @torch.no_grad()
    def forward(self, patches: Tensor, readout: TokenReadout) -> Tensor:
        """Return (B, classes) logits for (B, n, C) normed patch tokens, without gradient."""
        features = F.relu6(F.linear(patches, readout.features.weight, readout.features.bias)).mean(dim=1)
        return F.linear(features, readout.classifier.weight, readout.classifier.bias)


class AnswerPredictor(nn.Module):
    """Log-probabilities of keeping and dropping each patch token, by whether it says what the image says.

    A token is worth the log-probability that it, by itself, names the class that a first answer for the whole image
    names. Only the likeliest classes of the first answer are compared.
    """

    def __init__(self, dim: int, num_classes: int, candidates: int) -> None:
        super().__init__()
        self.candidates = min(candidates, num_classes)
        self.local = nn.Linear(dim, num_classes)
        self.own = nn.Linear(dim, 1)

    def forward(self, patches: Tensor, first_answer: Tensor) -> Tensor:
        """Return (B, n, 2) log-probabilities; channel 0 is "keep", channel 1 "drop".

        Args:
            patches: (B, n, C) normed, class token excluded.
            first_answer: (B, classes) logits for the whole image.
        """
        whole, classes = (first_answer.float() / SOFTNESS).topk(self.candidates, dim=-1)
        weight, bias = self.local.weight[classes], self.local.bias[classes]
        local = (patches @ weight.transpose(1, 2)).float() + bias.unsqueeze(1)
        agreement = (local.log_softmax(dim=-1) + whole.log_softmax(dim=-1).unsqueeze(1)).logsumexp(dim=-1)
        odds = agreement + self.own(patches).squeeze(-1).float()
        return torch.stack([F.logsigmoid(odds), F.logsigmoid(-odds)], dim=-1)


class Hybrid(DynamicVisionTransformer):
    """A dynamic transformer on Lite0's stages, or on patches, with a token read-out and answer predictors."""

    def __init__(self, config: ModelConfig, class_names: Sequence[str] | None = None) -> None:
        super().__init__(config, class_names)
        self.first_answer = FirstAnswer() if config.candidate_classes else None
        self.token_readout = TokenReadout(config.embed_dim, config.token_features, config.num_classes)
        self.token_readout.apply(self.initialise)

    def make_embedding(self) -> nn.Module:
        """Return Lite0's stages where the description asks for them."""
        return Lite0Stem(self.config.embed_dim) if self.config.embedding == "lite0" else super().make_embedding()

    def make_predictor(self) -> nn.Module:
        """Return a prediction module that compares answers, or the paper's."""
        config = self.config
        if not config.candidate_classes:
            return TokenPredictor(config.embed_dim)
        return AnswerPredictor(config.embed_dim, config.num_classes, config.candidate_classes)

    def begin(self, tokens: Tensor, grid: tuple[int, int]) -> Callable[[], Tensor]:
        """Return what reads the first answer out of (B, 1 + N, C) embedded tokens, when a predictor first asks."""

        @cache
        def first_answer() -> Tensor:
            sample = self.norm_intermediate(stride32_positions(tokens[:, 1:], grid))
            return cast(FirstAnswer, self.first_answer)(sample, self.token_readout)

        return first_answer

    def score(
        self,
        stage: int,
        patches: Tensor,
        keep_mask: Tensor | None = None,
        *,
        memory: Callable[[], Tensor] | None = None,
    ) -> Tensor:
        """Return the stage's (B, n, 2) log-probabilities; ``memory`` gives what answer predictors compare with."""
        if self.first_answer is None or memory is None:
            return super().score(stage, patches, keep_mask)
        return self.score_predictor[stage](self.norm_intermediate(patches), memory())

    def norm_intermediate(self, tokens: Tensor) -> Tensor:
        """Return (B, n, C) tokens from between the blocks as the read-out understands them.

        They get the last block's constant output before the last norm; in models that were distilled from a
        convolutional network it sets the norm's scale.
        """
        return self.norm(tokens + cast(Block, self.blocks[-1]).mlp.fc2.bias)

    def classify(self, tokens: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return (B, classes) logits of the class token and of the patch tokens that are left."""
        return super().classify(tokens) + self.token_readout(tokens[:, 1:], sizes)

    def parts(self) -> Iterator[tuple[PartKind, int | None, nn.Module]]:
        """Yield each part that costs something; the first answer is part of the first predictor's cost."""
        yield from super().parts()
        if self.first_answer is not None:
            yield "predictor", 1, self.first_answer

    @property
    def read_out(self) -> list[nn.Module]:
        """The modules after the last block."""
        return [*super().read_out, self.token_readout]
