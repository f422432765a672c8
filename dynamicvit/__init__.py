"""Dynamic token sparsification for vision transformers: models, checkpoints, analysis and training.

The public names load on first use, so that ``import dynamicvit`` is quick and needs neither torch nor gradio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamicvit.costs.profiling import Profile, profile
    from dynamicvit.models.config import ModelConfig, Preprocessing
    from dynamicvit.models.registry import create_model, list_models
    from dynamicvit.models.vit import DynamicVisionTransformer, SparseOutput, StageDecision
    from dynamicvit.studies.analysis import Analysis, analyze_image
    from dynamicvit.studies.comparison import Comparison, compare
    from dynamicvit.studies.report import Report, read_report, reproduce
    from dynamicvit.tokens.schedule import KeepMass
    from dynamicvit.tokens.selectors import create_selector
    from dynamicvit.weights.io import load_checkpoint, load_model, save_model

_HOME = {
    "Analysis": "studies.analysis",
    "Comparison": "studies.comparison",
    "DynamicVisionTransformer": "models.vit",
    "KeepMass": "tokens.schedule",
    "ModelConfig": "models.config",
    "Preprocessing": "models.config",
    "Profile": "costs.profiling",
    "Report": "studies.report",
    "SparseOutput": "models.vit",
    "StageDecision": "models.vit",
    "analyze_image": "studies.analysis",
    "compare": "studies.comparison",
    "create_model": "models.registry",
    "create_selector": "tokens.selectors",
    "list_models": "models.registry",
    "load_checkpoint": "weights.io",
    "load_model": "weights.io",
    "profile": "costs.profiling",
    "read_report": "studies.report",
    "reproduce": "studies.report",
    "save_model": "weights.io",
}

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Comparison",
    "DynamicVisionTransformer",
    "KeepMass",
    "ModelConfig",
    "Preprocessing",
    "Profile",
    "Report",
    "SparseOutput",
    "StageDecision",
    "analyze_image",
    "compare",
    "create_model",
    "create_selector",
    "list_models",
    "load_checkpoint",
    "load_model",
    "profile",
    "read_report",
    "reproduce",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dynamicvit' has no attribute {name!r}")
    return getattr(import_module(f"dynamicvit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
