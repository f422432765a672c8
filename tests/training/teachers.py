"""A stand-in for EfficientNet-Lite0's weights."""

import torch
from timm import create_model


def write_lite0_weights(path):
    """Random weights under other names than timm's, in timm's order, as the public package has them."""
    torch.manual_seed(0)
    network = create_model("tf_efficientnet_lite0").train()
    with torch.no_grad():
        for _ in range(4):  # gives the norms statistics that keep the features in range
            network(torch.randn(8, 3, 64, 64))
    torch.save({f"_other.{name}": value for name, value in network.state_dict().items()}, path)
    return path
