"""Methods are compared at equal cost, and each is what it would be on its own."""

from dataclasses import replace
from math import inf

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
from dynamicvit.models.config import ConvNeXtConfig, HierarchicalConfig, ModelConfig, SwinConfig, TimmViTConfig
from dynamicvit.models.registry import create_model, list_models, model_config
from dynamicvit.models.selectors import SELECTORS

TINY = ModelConfig(
    image_size=64, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)
WITHOUT_PREDICTORS = TimmViTConfig(
    image_size=64, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)
PATHS = {
    "image_size": 128,
    "widths": (4, 8, 16, 32),
    "depths": (1, 1, 4, 1),
    "num_classes": 10,
    "prune_locations": (1, 2, 3),
}
REDUCING = [method for method in METHODS if method != "none"]
# At this width comparing all keys with each other costs more than the predictors do.
CHEAPER = [method for method in REDUCING if method not in ("predictor", "diversity")]


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
    assert all(results[method].budget.numbers[0] > 0.6 for method in CHEAPER)
    assert results["diversity"].budget.numbers[0] < 0.6


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
    for result in map(by_name(comparison).get, CHEAPER):
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


def test_all_methods_of_the_model_are_compared_unless_told_otherwise(at_equal_macs):
    assert [result.method for result in at_equal_macs.results] == list(METHODS)


def test_without_predictors_the_models_own_choice_is_its_first_selector(images):
    plain = create_model(WITHOUT_PREDICTORS)
    comparison = compare(plain, images, keep_ratio=0.6)
    assert [result.method for result in comparison.results] == [m for m in METHODS if m != "predictor"]
    own = by_name(comparison)["class-attention"]
    assert own.budget == comparison.budget == BaseRatio(0.6)
    assert own.classification.macs.total == comparison.equal_macs
    with pytest.raises(SettingError, match="no method 'predictor'; choose some of class-attention, merging"):
        compare(plain, images, ("predictor",))


@pytest.mark.parametrize(
    "config",
    [ConvNeXtConfig(**PATHS), SwinConfig(**PATHS, heads=(1, 1, 2, 2), window_size=4)],
    ids=["convnext", "swin"],
)
def test_where_nothing_is_dropped_only_choices_of_a_path_are_compared(config):
    model, images = create_model(config), torch.rand(1, 3, 128, 128)
    results = compare(model, images, keep_ratio=0.6).results
    assert [result.method for result in results] == ["predictor", "random", "grid", "none"]
    with pytest.raises(SettingError, match="no method 'merging'; choose some of predictor, random, grid, none"):
        compare(model, images, ("merging",))


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
@given(data=st.data())
def test_on_real_models_costs_meet_within_half_a_percent(name, data):
    config = model_config(name)
    # A base ratio of 1 leaves the later stages of a hierarchical model at 0.8 and 0.6: there is less to give in return.
    highest, methods = (0.75, ["random", "grid"]) if isinstance(config, HierarchicalConfig) else (0.95, REDUCING[1:])
    ratio, method = data.draw(st.floats(0.2, highest)), data.draw(st.sampled_from(methods))

    def cost(budget, selector):
        return pruned_macs(config, (14, 14), budget.counts(config.schedule, 196), selector)

    own = BaseRatio(ratio)
    macs = cost(own, "predictor")
    found = cost(budget_for_macs(config, (14, 14), method, macs, own), method)
    more = min((c for c in (cost(other, method) for other in own.alternatives()) if c > found), default=inf)
    assert found < 1.005 * macs
    assert found > 0.995 * macs or more > 1.005 * macs  # one token more would be too many


def test_where_even_everything_is_cheaper_than_the_predictors_everything_is_kept(model, images):
    assert compare(model, images, ("grid",), 1.0).results[0].budget == BaseRatio(1.0)
