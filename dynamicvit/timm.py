"""This package's models among timm's: ``import dynamicvit.timm``, then ``timm.create_model("dynamicvit_...")``."""

from __future__ import annotations

from typing import Any

from timm.models import register_model

from dynamicvit.models.base import DynamicModel
from dynamicvit.models.registry import create_model, list_models
from dynamicvit.weights.available import load_model


def _entry(name: str) -> Any:
    """Return the function that timm calls for a name."""

    def build(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **changes: Any,
    ) -> DynamicModel:
        if pretrained:
            return load_model(name)
        changes |= {"image_size": changes.pop("img_size")} if "img_size" in changes else {}
        return create_model(name, **changes)

    build.__name__ = build.__qualname__ = name
    build.__module__ = __name__
    build.__doc__ = (
        f"Return {name}: with the weights that are here under that name if ``pretrained``, else with fresh ones.\n\n"
        "Other keywords change its description, as for :func:`dynamicvit.create_model`."
    )
    return build


for _name in [name for name in list_models() if name.startswith("dynamicvit_")]:
    globals()[_name] = register_model(_entry(_name))  # which adds the name to __all__
