"""A closed-form start for a transformer on a pretrained stem: regression instead of random weights.

Every block begins as the identity, and the read-out to the teacher's features is solved for by ridge regression, so
training starts from a working model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from dynamicvit.errors import SettingError
from dynamicvit.models.embeddings import Lite0Stem
from dynamicvit.models.layers import Attention
from dynamicvit.models.readout import TokenReadout
from dynamicvit.models.vit import DynamicVisionTransformer


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

    def solve_into(self, layer: nn.Linear, ridge: float = 1e-3) -> None:
        """Write the solution into a linear layer; ``ridge`` is relative to the inputs' mean square."""
        penalty = ridge * self.gram.diagonal().mean() * torch.eye(self.inputs + 1, dtype=torch.float64)
        penalty[-1, -1] = 0.0
        solution = torch.linalg.solve(self.gram + penalty, self.cross).float()
        with torch.no_grad():
            layer.weight.copy_(solution[:-1].T)
            layer.bias.copy_(solution[-1])


@torch.no_grad()
def start_as_identity(model: DynamicVisionTransformer, stem_mean: Tensor, stem_std: Tensor) -> None:
    """Make the tokens a rotation of the standardised stem features, and every block the identity.

    The read-out's weights and the class token's head start at zero, so the model begins as a plain mean over tokens.

    Args:
        model: with a Lite0 stem and a token read-out.
        stem_mean, stem_std: (192,) statistics of the stem's features.
    """
    stem, readout = hybrid_parts(model)
    proj = stem.proj
    rotation = nn.init.orthogonal_(torch.empty(proj.out_channels, proj.in_channels))
    proj.weight.copy_((rotation / stem_std)[:, :, None, None])
    proj.bias = nn.Parameter(-(rotation / stem_std) @ stem_mean)
    for module in model.blocks.modules():
        if isinstance(module, Attention):
            nn.init.zeros_(module.proj.weight)
        elif isinstance(module, Mlp):
            nn.init.zeros_(module.fc2.weight)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(readout.importance.weight)


def hybrid_parts(model: DynamicVisionTransformer) -> tuple[Lite0Stem, TokenReadout]:
    """Give the two parts of a hybrid that are made for a convolutional teacher.

    Raises:
        SettingError: the model has another embedding or no token read-out.
    """
    if not isinstance(model.patch_embed, Lite0Stem) or model.token_readout is None:
        raise SettingError("Distilling EfficientNet-Lite0 needs a model with its stem and a token read-out.")
    return model.patch_embed, model.token_readout
