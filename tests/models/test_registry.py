"""Named models can be built, and bad descriptions say what is wrong."""

import pytest
import torch

from dynamicvit.errors import SettingError
from dynamicvit.models.config import HierarchicalConfig, ModelConfig, SwinConfig
from dynamicvit.models.registry import create_model, list_models, model_config


def test_every_paper_family_is_listed_pruned_and_dense():
    for name in ("deit_256", "deit_small", "deit_base", "lvvit_small", "lvvit_medium"):
        assert f"dynamicvit_{name}_patch16_224" in list_models()
        assert model_config(f"{name}_patch16_224").num_stages == 0


def test_the_hierarchical_families_are_listed_pruned_and_dense():
    for size in ("tiny", "small", "base"):
        for name in (f"convnext_{size}", f"swin_{size}_patch4_window7_224"):
            assert model_config(f"dynamicvit_{name}").num_stages == 3
            assert model_config(name).num_stages == 0


@pytest.mark.parametrize("name", list_models())
def test_every_named_model_runs_at_a_small_size(name):
    config = model_config(name)
    locations = (0,) if config.prune_locations else ()
    size = {"depths": (1, 1, 1, 1)} if isinstance(config, HierarchicalConfig) else {"depth": 1}
    if isinstance(config, SwinConfig):
        size["window_size"] = 4
    model = create_model(name, image_size=32, num_classes=5, prune_locations=locations, **size)
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 32, 32), 0.5 if locations else None)
    assert logits.shape == (1, 5)
    assert torch.isfinite(logits).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingError, match="dynamicvit_deit_small_patch16_224"):
        create_model("vit_huge")


@pytest.mark.parametrize(
    "fields",
    [
        {"image_size": 225},
        {"embed_dim": 10, "num_heads": 3},
        {"prune_locations": (3, 3)},
        {"prune_locations": (6, 3)},
        {"prune_locations": (12,)},
        {"num_classes": 0},
        {"embedding": "lite0", "patch_size": 8},
        {"embedding": "lvvit", "patch_size": 7},
        {"embedding": "stem"},
        {"embedding": "swin"},
    ],
)
def test_a_description_that_does_not_fit_together_is_refused(fields):
    with pytest.raises(SettingError):
        ModelConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"widths": (8, 16, 32)},
        {"widths": (8, 16, 32, 65)},
        {"depths": (1, 0, 1, 1)},
        {"heads": (1, 2, 4, 5)},
        {"heads": ()},
        {"window_size": 0},
        {"image_size": 256},
        {"image_size": 16},
        {"prune_locations": (6,)},
    ],
)
def test_a_description_of_a_swin_that_does_not_fit_together_is_refused(fields):
    with pytest.raises(SettingError, match=next(iter(fields))):
        SwinConfig(**fields)


def test_what_follows_from_other_fields_cannot_be_set():
    with pytest.raises(SettingError, match="depth"):
        create_model("dynamicvit_convnext_tiny", depth=4)


def test_a_misspelt_field_is_named():
    with pytest.raises(SettingError, match="num_clases"):
        create_model("dynamicvit_deit_small_patch16_224", num_clases=10)
