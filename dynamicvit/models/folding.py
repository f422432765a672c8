"""Batch norms folded into the convolutions before them: the same numbers with fewer passes over the maps."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dynamicvit.models.base import DynamicModel


def fold_batch_norms(model: DynamicModel) -> DynamicModel:
    """Return the model, changed in place, with each batch norm in its convolution; answers stay the same to 1e-5.

    For use alone: it can neither be trained further nor saved, as its parameters are no longer those of its file.

    Args:
        model: in evaluation mode.
    """
    for parent in list(model.modules()):
        # In every family here, a batch norm stands directly behind its convolution.
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                is_last = conv.weight.is_contiguous(memory_format=torch.channels_last)
                layout = torch.channels_last if is_last else torch.contiguous_format
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm).to(memory_format=layout))
                setattr(parent, norm_name, getattr(norm, "act", nn.Identity()))  # timm's norms hold an activation
    return model
