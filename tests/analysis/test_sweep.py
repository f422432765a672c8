"""Down to which keep ratio a prediction holds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamicvit.analysis.results import Prediction, classify_dense
from dynamicvit.analysis.sweep import SWEPT_RATIOS, SweepPoint, find_stable_range, sweep_point
from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer

TINY = ModelConfig(
    image_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=10, prune_locations=(1, 2, 3)
)


@pytest.fixture(scope="module")
def model() -> DynamicVisionTransformer:
    torch.manual_seed(0)
    return create_model(TINY).eval()


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def points(*agreements: bool) -> list[SweepPoint]:
    """Points from ratio 1.00 downwards in steps of 0.05."""
    answer = Prediction(0, "a", 0.5)
    return [
        SweepPoint(ratio, answer, 0.5, agrees, macs=100, saved_share=0.0)
        for ratio, agrees in zip(SWEPT_RATIOS, agreements, strict=False)
    ]


def test_ratios_go_from_all_to_a_tenth_in_steps_of_a_twentieth() -> None:
    assert (len(SWEPT_RATIOS), SWEPT_RATIOS[0], SWEPT_RATIOS[-1], SWEPT_RATIOS[13]) == (19, 1.0, 0.1, 0.35)


def test_at_ratio_one_nothing_is_dropped_and_the_predictors_cost_extra(
    model: DynamicVisionTransformer, picture: torch.Tensor
) -> None:
    dense = classify_dense(model, picture)
    point = sweep_point(model, picture, 1.0, dense)
    assert point.agrees
    assert point.confidence == pytest.approx(dense.top[0].probability, abs=1e-5)
    assert point.saved_share < 0


def test_confidence_is_that_of_the_dense_class_also_when_another_class_wins(
    model: DynamicVisionTransformer, picture: torch.Tensor
) -> None:
    dense = classify_dense(model, picture)
    last = classify_dense(model, picture, top=10).top[-1]
    contrary = type(dense)((last, *dense.top), dense.macs)
    point = sweep_point(model, picture, 0.5, contrary)
    expected = model(picture, 0.5).softmax(dim=1)[0, last.index]
    assert not point.agrees
    assert point.confidence == pytest.approx(float(expected.detach()), abs=1e-6)
    assert point.confidence < point.answer.probability


def test_lower_ratios_save_more(model: DynamicVisionTransformer, picture: torch.Tensor) -> None:
    dense = classify_dense(model, picture)
    saved = [sweep_point(model, picture, ratio, dense).saved_share for ratio in (0.9, 0.6, 0.3)]
    assert saved == sorted(saved)


def test_ratio_outside_the_range_is_refused(model: DynamicVisionTransformer, picture: torch.Tensor) -> None:
    with pytest.raises(SettingError):
        sweep_point(model, picture, 0.0, classify_dense(model, picture))


def test_flip_is_the_first_disagreement() -> None:
    stable = find_stable_range(points(True, True, False, False))
    assert stable.last is not None
    assert stable.flip is not None
    assert (stable.last.keep_ratio, stable.flip.keep_ratio, stable.returns) == (0.95, 0.9, ())
    assert stable.drops_tokens


def test_prediction_that_flips_back_is_told() -> None:
    stable = find_stable_range(points(True, False, True, False, True))
    assert [point.keep_ratio for point in stable.returns] == [0.9, 0.8]
    assert not stable.drops_tokens  # it held at 1.00 alone


def test_prediction_that_holds_everywhere_has_no_flip() -> None:
    stable = find_stable_range(points(True, True, True))
    assert stable.last is not None
    assert (stable.last.keep_ratio, stable.flip) == (0.9, None)


def test_prediction_that_never_holds_has_no_last_point() -> None:
    stable = find_stable_range(points(False, True))
    assert stable.last is None
    assert not stable.drops_tokens


@given(st.lists(st.booleans(), min_size=1, max_size=19), st.randoms())
def test_every_point_above_the_last_agrees_whatever_the_order(agreements: list[bool], chance: object) -> None:
    known = points(*agreements)
    shuffled = list(known)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    stable = find_stable_range(shuffled)
    assert stable == find_stable_range(known)
    held = known[: known.index(stable.last) + 1] if stable.last else []
    assert all(point.agrees for point in held)
    assert len(stable.returns) == sum(agreements[len(held) :])
