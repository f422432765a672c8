"""Methods are compared at equal cost, and each is what it would be on its own."""

from dataclasses import replace

import pytest
import torch
from analysis.examples import decided_model
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamicvit.analysis.comparison import METHODS, Comparison, budget_for_macs, compare
from dynamicvit.analysis.results import AnalysisSettings, analyze, classify_dense
from dynamicvit.budget import BaseRatio, KeepMass
from dynamicvit.costs.closed_form import pruned_macs
from dynamicvit.errors import SettingError
from dynamicvit.models.config import ModelConfig
from dynamicvit.models.registry import list_models, model_config
from dynamicvit.models.selectors import SELECTORS

TINY = ModelConfig(
    image_size=64, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)
REDUCING = [method for method in METHODS if method != "none"]


@pytest.fixture(scope="module")
def model():
    return decided_model(TINY)


@pytest.fixture(scope="module")
def images():
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def at_equal_macs(model, images) -> Comparison:
    return compare(model, images, keep_ratio=0.6)


def by_name(comparison):
    return {result.method: result for result in comparison.results}


def test_every_selector_can_be_compared_and_the_dense_model():
    assert sorted(METHODS) == sorted([*SELECTORS, "none"])


def test_results_come_in_the_order_asked_for(model, images):
    comparison = compare(model, images, ("none", "grid", "predictor"), 0.5)
    assert [result.method for result in comparison.results] == ["none", "grid", "predictor"]


def test_nobody_spends_more_than_the_predictors_and_nobody_much_less(at_equal_macs):
    for result in at_equal_macs.results[:-1]:
        assert 0.99 < result.classification.macs.total / at_equal_macs.equal_macs < 1.005


def test_methods_without_predictors_keep_more_tokens_for_the_same_price(at_equal_macs):
    results = by_name(at_equal_macs)
    assert results["predictor"].budget == BaseRatio(0.6)
    assert all(results[method].budget.numbers[0] > 0.6 for method in REDUCING[1:])


def test_the_dense_model_keeps_all_and_agrees_with_itself(at_equal_macs, model, images):
    dense = at_equal_macs.results[-1]
    assert (dense.method, dense.budget, dense.stages, dense.agrees) == ("none", None, (), True)
    assert dense.classification == classify_dense(model, images)


@pytest.mark.parametrize("method", REDUCING)
def test_each_is_what_it_is_on_its_own(at_equal_macs, model, images, method):
    result = by_name(at_equal_macs)[method]
    alone = analyze(model, images, AnalysisSettings(result.budget, method))
    assert (result.classification, result.stages, result.agrees) == (alone.pruned, alone.stages, alone.agrees)
    assert (result.stages[0].groups is not None) == (method == "merging")


def test_at_an_equal_ratio_all_keep_as_many(model, images):
    comparison = compare(model, images, REDUCING, 0.6, basis="ratio")
    counts = [[len(stage.kept_patches) for stage in result.stages] for result in comparison.results]
    assert counts == [[153, 92, 55]] * len(REDUCING)
    assert {result.budget for result in comparison.results} == {BaseRatio(0.6)}


def test_ratios_for_each_stage_are_raised_to_a_common_power(model, images):
    comparison = compare(model, images, keep_ratio=(0.9, 0.5, 0.5))
    for result in comparison.results[1:-1]:
        first, second, third = result.budget.numbers
        assert first > 0.9
        assert second == third > 0.5
        assert result.classification.macs.total <= 1.005 * comparison.equal_macs


def test_the_adaptive_mode_gives_the_others_its_own_counts(model, images):
    comparison = compare(model, images, ("predictor", "grid"), KeepMass(0.7), basis="ratio")
    own, grid = ([len(stage.kept_patches) for stage in result.stages] for result in comparison.results)
    assert own == grid
    assert comparison.budget == comparison.results[0].budget == KeepMass(0.7)


def test_the_seed_decides_the_random_choice(model, images):
    first, again, other = (compare(model, images, ("random",), 0.5, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.results[0].stages != other.results[0].stages


def test_a_dense_result_at_hand_is_used_as_it_is(model, images):
    dense = replace(classify_dense(model, images), top=())
    assert compare(model, images, ("none",), 0.5, dense=dense).results[0].classification is dense


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"methods": ("magic",)}, "predictor, class-attention"),
        ({"basis": "seconds"}, "macs or ratio"),
        ({"keep_ratio": 0.0}, "keep ratio"),
        ({"keep_ratio": (0.5, 0.6, 0.4)}, "must not increase"),
    ],
)
def test_what_makes_no_sense_is_refused(model, images, arguments, says):
    with pytest.raises(SettingError, match=says):
        compare(model, images, **arguments)


@pytest.mark.parametrize("name", [name for name in list_models() if name.startswith("dynamicvit")])
@settings(max_examples=4, deadline=None)
@given(ratio=st.floats(0.2, 0.95), method=st.sampled_from(REDUCING[1:]))
def test_on_real_models_costs_meet_within_half_a_percent(name, ratio, method):
    config = model_config(name)

    def cost(budget, selector):
        return pruned_macs(config, (14, 14), budget.counts(3, 196), selector)

    own = BaseRatio(ratio)
    macs = cost(own, "predictor")
    assert abs(cost(budget_for_macs(config, (14, 14), method, macs, own), method) / macs - 1) < 0.005


def test_where_even_everything_is_cheaper_than_the_predictors_everything_is_kept(model, images):
    assert compare(model, images, ("grid",), 1.0).results[0].budget == BaseRatio(1.0)
