"""A checkpoint of transformers answers as transformers does, and can drop tokens."""

import json

import pytest
import torch

from dynamicvit.errors import CheckpointError
from dynamicvit.weights.available import load_model
from dynamicvit.weights.transformers import from_transformers

SIZES = {"image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
ARCHITECTURES = ["ViTForImageClassification", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"]


@pytest.fixture(params=ARCHITECTURES)
def saved(request, tmp_path):
    """A folder as save_pretrained writes it, and transformers' own model."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    kind = transformers.ViTConfig if request.param.startswith("ViT") else transformers.DeiTConfig
    config = kind(**SIZES, intermediate_size=96, id2label={0: "red", 1: "green", 2: "blue"})
    model = getattr(transformers, request.param)(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path)
    prepared = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepared))
    return tmp_path, model


def test_logits_are_those_of_transformers(saved):
    folder, theirs = saved
    model = load_model(folder)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images).logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(images, 1.0), theirs(images).logits, atol=1e-5, rtol=1e-5)
        assert model.forward_stages(images, 0.5).stages[0].kept_patches.shape == (2, 8)
    assert model.class_names == ("red", "green", "blue")
    assert model.config.preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", {"architectures": ["BeitForImageClassification"]}, "holds a BeitForImageClassification"),
        ("config.json", {"architectures": ["ViTForImageClassification"]}, "do not fit"),
        ("config.json", [], "is no description"),
        ("preprocessor_config.json", {"size": 32}, "how images are prepared"),
        ("preprocessor_config.json", None, "has no preprocessor_config.json"),
    ],
)
@pytest.mark.parametrize("saved", ARCHITECTURES[:1], indirect=True)
def test_what_cannot_be_read_is_said_in_a_sentence(saved, name, content, sentence):
    folder, _ = saved
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=sentence):
        from_transformers(folder)
