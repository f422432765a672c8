"""The hybrid's stem, and the places that it computes without dilation."""

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.models.hybrid import Lite0Stem, stride32_positions


@pytest.mark.parametrize("size", [(224, 160), (240, 208), (208, 224), (16, 48)])
def test_stride32_positions_are_what_the_network_computes_at_its_own_stride(size):
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    stem = Lite0Stem(8).eval()
    stem.load_state_dict(network.state_dict(), strict=False)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        feature_map = stem.features(images)
        own = network.blocks(network.bn1(network.conv_stem(images)))
    places = stride32_positions(feature_map.flatten(2).transpose(1, 2), feature_map.shape[2:])
    torch.testing.assert_close(places, own.flatten(2).transpose(1, 2), atol=1e-3, rtol=1e-3)


@given(rows=st.integers(1, 15), columns=st.integers(1, 15))
def test_stride32_positions_are_about_a_quarter_and_never_none(rows, columns):
    places = stride32_positions(torch.arange(rows * columns).view(1, -1, 1), (rows, columns))
    assert places.shape == (1, -(-rows // 2) * -(-columns // 2), 1)
    assert len(places.unique()) == places.shape[1]
