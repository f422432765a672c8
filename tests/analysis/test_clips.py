"""Which frames of a clip are looked at, and what is found on a frame."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.analysis.clips import MAX_FRAMES, MAX_RATE, MIN_RATE, look_at_frame, plan_clip
from dynamicvit.analysis.results import AnalysisSettings, analyze
from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.models.config import ModelConfig, TimmViTConfig
from dynamicvit.models.registry import create_model

positive = st.floats(0.01, 1000.0)


@given(st.floats(1, 240), st.none() | positive, st.floats(1e-4, 100), positive)
def test_plan_keeps_to_the_budget_and_to_sensible_rates(
    rate: float, seconds: float | None, seconds_per_frame: float, budget: float
) -> None:
    plan = plan_clip(rate, seconds, seconds_per_frame, budget)
    assert 1 <= plan.max_frames <= MAX_FRAMES
    assert plan.max_frames == 1 or plan.max_frames * seconds_per_frame <= budget * (1 + 1e-9)
    assert min(rate, MIN_RATE) <= plan.rate <= min(rate, MAX_RATE)


@given(st.floats(MIN_RATE, 240), positive, st.floats(1e-3, 1))
def test_clip_is_cut_only_when_the_lowest_rate_is_reached(
    rate: float, seconds: float, seconds_per_frame: float
) -> None:
    plan = plan_clip(rate, seconds, seconds_per_frame, 60.0)
    if plan.rate > MIN_RATE:
        assert plan.seconds >= seconds * (1 - 1e-9)


def test_short_clip_is_shown_whole_and_a_long_one_is_thinned_then_cut() -> None:
    assert plan_clip(10.0, 3.0, 0.1, 60.0).rate == 10.0
    thinned = plan_clip(30.0, 30.0, 0.25, 60.0)
    assert (thinned.rate, thinned.seconds) == (8.0, 30.0)
    cut = plan_clip(30.0, 60.0, 0.5, 60.0)
    assert (cut.rate, cut.seconds) == (MIN_RATE, 30.0)
    assert plan_clip(30.0, None, 0.5, 60.0) == cut


@pytest.mark.parametrize("keep_ratio", [0.7, (0.5, 0.5, 0.1)])
def test_frame_gives_what_an_analysis_gives(keep_ratio: float | tuple[float, ...]) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        image_size=32, patch_size=4, embed_dim=48, depth=6, num_heads=3, num_classes=10, prune_locations=(1, 3, 5)
    )
    model = create_model(config, class_names=list("abcdefghij"))
    images = torch.randn(1, 3, 32, 32)
    answer, expected = look_at_frame(model, images, keep_ratio), analyze(model, images, AnalysisSettings(keep_ratio))
    assert answer.kept_patches == tuple(stage.kept_patches for stage in expected.stages)
    assert answer.prediction.index == expected.pruned.top[0].index
    assert answer.prediction.label == "abcdefghij"[answer.prediction.index]
    assert answer.prediction.label == expected.pruned.top[0].label
    assert answer.prediction.probability == pytest.approx(expected.pruned.top[0].probability)


def test_a_frame_without_an_answer_is_not_drawn() -> None:
    sizes = {"image_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "prune_locations": (1,)}
    model, features = create_model(ModelConfig(**sizes)), create_model(TimmViTConfig(**sizes, num_classes=0))
    torch.nn.init.constant_(model.head.bias, torch.inf)
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(CheckpointError, match="not finite"):
        look_at_frame(model, images, 0.5)
    with pytest.raises(SettingError, match="no classifier"):
        look_at_frame(features, images, 0.5)
