"""Models can be exported at a fixed keep ratio, for any number of images, with what they keep."""

import pytest
import torch
from torch import nn

from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, SwinConfig, TimmViTConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.selectors import GridSelector, create_selector

TOKENS = {"image_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 5}
MAPS = {"image_size": 64, "widths": (4, 8, 16, 32), "depths": (1, 1, 2, 1), "num_classes": 5}
CONFIGS = {
    "deit": ModelConfig(**TOKENS, prune_locations=(0, 1)),
    "lvvit": ModelConfig(**TOKENS, prune_locations=(0, 1), embedding="lvvit", has_aux_head=True),
    "lite0": ModelConfig(**(TOKENS | {"image_size": 32, "patch_size": 16}), prune_locations=(0, 1), embedding="lite0"),
    "timm": TimmViTConfig(**TOKENS, prune_locations=(0, 1), num_registers=2, has_prefix_positions=False),
    "convnext": ConvNeXtConfig(**MAPS, prune_locations=(0, 1)),
    "swin": SwinConfig(**MAPS, prune_locations=(0, 1), heads=(1, 1, 2, 2), window_size=4),
}


class AtRatio(nn.Module):
    """A model at one keep ratio, with plain tensors as outputs: the logits, then what each stage keeps."""

    def __init__(self, model, selector):
        super().__init__()
        self.model, self.selector = model, selector

    def forward(self, images):
        output = self.model.forward_stages(images, 0.7, self.selector)
        return output.logits, *(stage.kept_patches for stage in output.stages)


@pytest.mark.parametrize(
    ("family", "selector"),
    [
        *((family, None) for family in CONFIGS),
        *(("deit", name) for name in ("class-attention", "merging", "diversity")),
    ],
)
def test_an_exported_model_computes_the_same_for_any_batch(family, selector):
    torch.manual_seed(0)
    model = create_model(CONFIGS[family])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    side = model.config.image_size
    wrapped = AtRatio(model, None if selector is None else create_selector(selector))
    batch = {"images": {0: torch.export.Dim("batch", max=2**31 - 1)}}
    with torch.no_grad():
        images = torch.randn(2, 3, side, side)
        exported = torch.export.export(wrapped, (images,), dynamic_shapes=batch, strict=False).module()
        for count in (1, 2, 5):
            images = torch.randn(count, 3, side, side)
            logits, *kept = exported(images)
            expected_logits, *expected_kept = wrapped(images)
            torch.testing.assert_close(logits, expected_logits)
            assert all(torch.equal(one, other) for one, other in zip(kept, expected_kept, strict=True))


def test_exporting_leaves_nothing_behind_in_later_calls():
    model, images = create_model(CONFIGS["deit"]), torch.zeros(1, 3, 16, 20)
    with torch.no_grad():
        torch.export.export(AtRatio(model, GridSelector()), (images,), strict=False)
        assert torch.isfinite(model(images, 0.7, GridSelector())).all()
