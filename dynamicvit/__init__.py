"""Dynamic token sparsification for vision transformers: models, checkpoints, analysis and training.

The public names load on first use, so that ``import dynamicvit`` is quick and needs neither torch nor gradio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamicvit.analysis.comparison import Comparison, compare
    from dynamicvit.analysis.prepared import PreparedImage, analyze_image
    from dynamicvit.analysis.report import Report, read_report, reproduce
    from dynamicvit.analysis.results import Analysis
    from dynamicvit.budget import BaseRatio, Budget, KeepMass, StageRatios
    from dynamicvit.costs.profiling import Profile, profile
    from dynamicvit.models.base import DynamicModel, SparseOutput, StageDecision
    from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, Preprocessing, SwinConfig, TimmViTConfig
    from dynamicvit.models.registry import create_model, list_models
    from dynamicvit.models.selectors import create_selector
    from dynamicvit.models.timm_vit import from_timm
    from dynamicvit.models.vit import DynamicVisionTransformer
    from dynamicvit.weights.available import load_model
    from dynamicvit.weights.io import load_checkpoint, save_model

_HOME = {
    "Analysis": "analysis.results",
    "BaseRatio": "budget",
    "Budget": "budget",
    "Comparison": "analysis.comparison",
    "ConvNeXtConfig": "models.config",
    "DynamicModel": "models.base",
    "DynamicVisionTransformer": "models.vit",
    "KeepMass": "budget",
    "ModelConfig": "models.config",
    "PreparedImage": "analysis.prepared",
    "Preprocessing": "models.config",
    "Profile": "costs.profiling",
    "Report": "analysis.report",
    "SparseOutput": "models.base",
    "StageDecision": "models.base",
    "StageRatios": "budget",
    "SwinConfig": "models.config",
    "TimmViTConfig": "models.config",
    "analyze_image": "analysis.prepared",
    "compare": "analysis.comparison",
    "create_model": "models.registry",
    "create_selector": "models.selectors",
    "from_timm": "models.timm_vit",
    "list_models": "models.registry",
    "load_checkpoint": "weights.io",
    "load_model": "weights.available",
    "profile": "costs.profiling",
    "read_report": "analysis.report",
    "reproduce": "analysis.report",
    "save_model": "weights.io",
}

__version__ = "0.1.0"
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dynamicvit' has no attribute {name!r}")
    return getattr(import_module(f"dynamicvit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
