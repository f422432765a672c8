"""A closed-form start for a transformer on a pretrained stem: regression instead of random weights.

Every block begins as the identity, and the read-out to the teacher's features is solved for by ridge regression, so
training starts from a working model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from dynamicvit.errors import SettingError
from dynamicvit.models.hybrid import AnswerPredictor, Hybrid, Lite0Stem, TokenReadout
from dynamicvit.models.selectors import even_order
from dynamicvit.models.vit import Attention, DynamicVisionTransformer
from dynamicvit.training.losses import kl_loss


@dataclass
class RunningRegression:
    """Sums for a ridge regression from inputs with a constant to targets, over any number of batches."""

    inputs: int
    targets: int

    def __post_init__(self) -> None:
        self.gram = torch.zeros(self.inputs + 1, self.inputs + 1, dtype=torch.float64)
        self.cross = torch.zeros(self.inputs + 1, self.targets, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in rows: x (n, inputs), y (n, targets)."""
        rows = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        self.gram += (rows.T @ rows).double()
        self.cross += (rows.T @ y).double()

    def solve(self, ridge: float) -> Tensor:
        """Give the (inputs + 1, targets) solution, constant last; ``ridge`` is relative to the inputs' mean square."""
        penalty = ridge * self.gram.diagonal()[:-1].mean() * torch.eye(self.inputs + 1, dtype=torch.float64)
        penalty[-1, -1] = 0.0
        return torch.linalg.solve(self.gram + penalty, self.cross)

    def solve_into(self, layer: nn.Linear, ridge: float = 1e-4) -> None:
        """Write the solution into a linear layer."""
        solution = self.solve(ridge).float()
        with torch.no_grad():
            layer.weight.copy_(solution[:-1].T)
            layer.bias.copy_(solution[-1])

    def directions(self, rank: int, ridge: float = 1e-4) -> tuple[Tensor, Tensor]:
        """Give the ``rank`` linear maps of the inputs that explain most of the targets: (rank, inputs) and (rank,).

        The mapped inputs have zero mean and unit variance, and are uncorrelated.
        """
        count, mean = self.gram[-1, -1], self.gram[-1, :-1] / self.gram[-1, -1]
        covariance = self.gram[:-1, :-1] / count - torch.outer(mean, mean)
        covariance += ridge * covariance.diagonal().mean() * torch.eye(self.inputs, dtype=torch.float64)
        root = torch.linalg.cholesky(covariance)
        _, _, telling = torch.linalg.svd((self.solve(ridge)[:-1].T) @ root, full_matrices=False)
        maps = torch.linalg.solve_triangular(root, telling[:rank], upper=False, left=False)
        return maps.float(), -(maps @ mean).float()


@torch.no_grad()
def start_as_identity(model: DynamicVisionTransformer, regression: RunningRegression) -> None:
    """Make the tokens the stem's most telling directions, with unit variance, and every block the identity.

    The read-out's weights and the class token's head start at zero, so the model begins as a plain mean over tokens.

    Args:
        model: with a Lite0 stem and a token read-out.
        regression: of the teacher's features on the stem's (C channels); the directions are those of the reduced-rank
            regression, which loses least of the teacher's features.
    """
    stem, readout = hybrid_parts(model)
    proj = stem.proj
    directions, bias = regression.directions(proj.out_channels)
    proj.weight.copy_(directions[:, :, None, None])
    proj.bias = nn.Parameter(bias)
    nn.init.zeros_(model.cls_token)
    nn.init.zeros_(model.pos_embed)
    for module in model.blocks.modules():
        if isinstance(module, Attention):
            nn.init.zeros_(module.proj.weight)
        elif isinstance(module, Mlp):
            nn.init.zeros_(module.fc2.weight)
    _keep_scale_through(model)
    _tell_places(model)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(readout.importance.weight)


@torch.no_grad()
def match_confidence(model: DynamicVisionTransformer, logits: Tensor, teacher_logits: Tensor) -> None:
    """Scale a read-out so that its dense answers are as sure as the teacher's; the order of the classes stays.

    Answers that are compared have to mean the same by a probability. A body that was trained on pruned passes, whose
    tokens agree with each other, is too unsure of the mean of all tokens.

    Args:
        model: with a token read-out.
        logits, teacher_logits: (B, classes), of the dense model and its teacher for the same pictures.
    """
    factors = [step / 20 for step in range(10, 41)]
    factor = min(factors, key=lambda one: float(kl_loss(one * logits, teacher_logits)))
    for layer in (model.head, hybrid_parts(model)[1].classifier):
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)


@torch.no_grad()
def start_predictors(model: DynamicVisionTransformer, regression: RunningRegression, agreement: float) -> None:
    """Let every answer predictor begin with what linear regression makes of single tokens; the paper's stay random.

    Args:
        model: with a token read-out.
        regression: of the teacher's logits at single places on the tokens that predictors see.
        agreement: mean score of tokens before training; taken off, so that about half of them begin as kept.
    """
    for predictor in model.score_predictor:
        if isinstance(predictor, AnswerPredictor):
            regression.solve_into(predictor.local)
            nn.init.zeros_(predictor.own.weight)
            nn.init.constant_(predictor.own.bias, -agreement)


@torch.no_grad()
def _keep_scale_through(model: DynamicVisionTransformer, level: float = 30.0) -> None:
    """Make the final norm almost linear: two channels get a large constant, which then sets the norm's scale.

    A norm divides each token by its own spread, and the teacher's features depend on it: without this the regression
    starts some seven points of top-1 lower. The two least telling channels are given up for it.
    """
    last = cast(nn.Linear, model.get_submodule(f"blocks.{len(model.blocks) - 1}.mlp.fc2"))
    last.bias[-2:] += torch.tensor([level, -level])
    model.norm.weight.fill_((1.0 + 2.0 * level**2 / model.config.embed_dim) ** 0.5)
    model.norm.weight[-2:] = 0.0


@torch.no_grad()
def _tell_places(model: DynamicVisionTransformer) -> None:
    """Let the two channels that the final norm gives up say where in an evenly spread order a patch is.

    Predictors that see it can leave out neighbours, which say much the same. Added to both of the norm's opposite
    constants, it leaves the norm's scale as it is.
    """
    side = model.config.image_size // model.config.patch_size
    proj = hybrid_parts(model)[0].proj
    proj.weight[-2:] = 0.0
    cast(Tensor, proj.bias)[-2:] = 0.0
    model.pos_embed[0, 1:, -2:] = even_preference(side, side).unsqueeze(-1)


def even_preference(rows: int, columns: int) -> Tensor:
    """Give each cell of a grid how early it comes in an evenly spread order: (rows * columns,), mean 0, spread 1."""
    earliness = -even_order(rows, columns).float()
    return (earliness - earliness.mean()) / earliness.std()


def hybrid_parts(model: DynamicVisionTransformer) -> tuple[Lite0Stem, TokenReadout]:
    """Give the two parts of a hybrid that are made for a convolutional teacher.

    Raises:
        SettingError: the model has another embedding or no token read-out.
    """
    if not isinstance(model, Hybrid) or not isinstance(model.patch_embed, Lite0Stem):
        raise SettingError("Distilling EfficientNet-Lite0 needs a model with its stem and a token read-out.")
    return model.patch_embed, model.token_readout
