"""The paper's transformer on EfficientNet-Lite0's trunk: timm's own features, whose statistics never change."""

import timm
import torch
import torch.nn.functional as F

from dynamicvit.models.lite0 import Lite0Embedding
from dynamicvit.models.registry import create_model


def test_the_trunk_is_timms_network_below_its_pooling():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=16).eval()
    embedding = Lite0Embedding(8).eval()
    embedding.trunk.load_state_dict(network.state_dict(), strict=False)
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        features = embedding.features(images)
        assert features.shape == (2, 1280, 6, 4)
        logits = network.classifier(F.adaptive_avg_pool2d(features, 1).flatten(1))
        torch.testing.assert_close(logits, network(images), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(embedding(images), embedding.proj(features))


def test_training_changes_no_statistics_of_the_trunk():
    embedding = Lite0Embedding(8).train()
    before = {name: value.clone() for name, value in embedding.state_dict().items()}
    embedding(torch.randn(4, 3, 32, 32)).sum().backward()
    assert embedding.training
    assert all(torch.equal(value, before[name]) for name, value in embedding.state_dict().items())


def test_only_the_map_to_the_tokens_is_trained():
    embedding = Lite0Embedding(8)
    trained = {name for name, parameter in embedding.named_parameters() if parameter.requires_grad}
    assert trained == {"proj.weight", "proj.bias"}


def test_the_shipped_model_is_the_papers_beside_its_embedding():
    small = {"depth": 1, "prune_locations": (0,), "embed_dim": 24, "num_heads": 3, "image_size": 64}
    model = create_model("dynamicvit_lite0_small_patch16_224", **small)
    plain = create_model(model.config, embedding="patch")
    own, other = ({name for name in one.state_dict() if not name.startswith("patch_embed.")} for one in (model, plain))
    assert own == other
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64), 0.5).shape == (1, 1000)
