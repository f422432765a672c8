import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from analysis.examples import decided_model
from PIL import Image

from dynamicvit.analysis.prepared import analyze_image
from dynamicvit.analysis.results import Analysis, AnalysisSettings, StageView, analyze, classify_dense
from dynamicvit.budget import KeepMass
from dynamicvit.costs.macs import MacCounter
from dynamicvit.errors import ImageError, SettingError
from dynamicvit.images import DecodedImage, decode, prepare
from dynamicvit.models.config import ConvNeXtConfig, ModelConfig
from dynamicvit.models.registry import create_model
from dynamicvit.models.vit import DynamicVisionTransformer

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2, 3)
)


@pytest.fixture(scope="module")
def model() -> DynamicVisionTransformer:
    return decided_model(TINY)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def result(model, images) -> Analysis:
    return analyze(model, images, AnalysisSettings(0.7))


class TestPredictions:
    def test_are_those_of_the_models_own_forward_pass(self, model, images, result):
        with torch.inference_mode():
            for classification, logits in ((result.dense, model(images)), (result.pruned, model(images, 0.7))):
                probabilities = logits[0].softmax(dim=0)
                assert [prediction.index for prediction in classification.top] == probabilities.topk(5).indices.tolist()
                for prediction in classification.top:
                    assert prediction.probability == pytest.approx(probabilities[prediction.index].item())
                    assert prediction.label == f"class {prediction.index}"

    def test_are_called_what_the_model_calls_them(self, model, images):
        named = create_model(TINY, class_names=list("abcdefghij"))
        named.load_state_dict(model.state_dict())
        for result in (classify_dense(named, images), analyze(named, images, AnalysisSettings(0.7)).pruned):
            assert [prediction.label for prediction in result.top] == [
                "abcdefghij"[prediction.index] for prediction in result.top
            ]

    def test_no_more_classes_are_reported_than_there_are(self, model, images):
        result = analyze(model, images, AnalysisSettings(0.7), top=50)
        assert len(result.dense.top) == len(result.pruned.top) == 10

    def test_agreement_is_about_the_best_class_alone(self, result):
        first, second, *others = result.dense.top
        same_best = replace(result.dense, top=(replace(first, probability=0.1), *others))
        other_best = replace(result.dense, top=(second, first, *others))
        assert replace(result, pruned=same_best).agrees
        assert not replace(result, pruned=other_best).agrees


class TestCost:
    def test_is_counted_on_each_forward_pass(self, model, images, result):
        with torch.inference_mode():
            with MacCounter(model) as dense:
                model(images)
            with MacCounter(model) as pruned:
                model(images, 0.7)
        assert result.dense.macs == dense.report()
        assert result.pruned.macs == pruned.report()
        assert result.saved_share == pytest.approx(1 - pruned.report().total / dense.report().total)

    def test_keeping_everything_saves_less_than_nothing(self, model, images):
        result = analyze(model, images, AnalysisSettings(1.0))
        assert result.saved_share < 0
        assert result.pruned.top == result.dense.top

    def test_a_dense_result_at_hand_is_used_as_it_is(self, model, images, monkeypatch):
        dense = classify_dense(model, images)
        monkeypatch.setattr(
            "dynamicvit.analysis.results.classify_dense", lambda *_, **__: pytest.fail("computed again")
        )
        assert analyze(model, images, AnalysisSettings(0.5), dense=dense).dense is dense


class TestStages:
    def test_count_the_tokens_that_come_and_stay(self, result):
        assert result.grid == (8, 8)
        assert result.num_patches == 64
        assert [(stage.number, stage.block) for stage in result.stages] == [(1, 1), (2, 2), (3, 3)]
        assert [stage.live_count for stage in result.stages] == [64, 44, 31]
        assert [len(stage.kept_patches) for stage in result.stages] == [44, 31, 21]

    def test_score_exactly_the_patches_that_the_stage_before_kept(self, result):
        live = set(range(64))
        for stage in result.stages:
            assert {patch for patch, score in enumerate(stage.keep_scores) if score is not None} == live
            assert len(stage.keep_scores) == 64
            live = set(stage.kept_patches)

    @pytest.mark.parametrize("selector", ["predictor", "random", "grid", "class-attention"])
    def test_keep_the_best_scores_best_first(self, model, images, selector):
        for stage in analyze(model, images, AnalysisSettings(0.5, selector)).stages:
            kept = [stage.keep_scores[patch] for patch in stage.kept_patches]
            dropped = [
                score
                for patch, score in enumerate(stage.keep_scores)
                if score is not None and patch not in stage.kept_patches
            ]
            assert kept == sorted(kept, reverse=True)
            assert min(kept) >= max(dropped)
            assert all(0 <= score <= 1 for score in kept + dropped)

    def test_show_the_predictors_probability_in_place(self, model, images, result):
        with torch.inference_mode():
            tokens = model.blocks[0](model.embed(images)[0])
            probability = model.score_predictor[0](tokens[:, 1:])[0, :, 0].exp()
        np.testing.assert_allclose(result.stages[0].keep_scores, probability.numpy(), rtol=1e-5)

    def test_other_selectors_scores_span_0_to_1(self, model, images):
        scores = analyze(model, images, AnalysisSettings(0.5, "grid")).stages[0].keep_scores
        assert (min(scores), max(scores)) == (0, 1)

    def test_a_single_token_left_scores_1(self, model, images):
        stage = analyze(model, images, AnalysisSettings((1 / 64, 1 / 64, 1 / 64), "random")).stages[-1]
        assert stage.live_count == 1
        assert stage.keep_scores[stage.kept_patches[0]] == 1

    @pytest.mark.parametrize("selector", ["predictor", "random", "class-attention"])
    def test_rank_what_reached_them_kept_patches_first(self, model, images, selector):
        for stage in analyze(model, images, AnalysisSettings(0.5, selector)).stages:
            ranked = {patch: rank for patch, rank in enumerate(stage.ranks) if rank is not None}
            assert sorted(ranked.values()) == list(range(1, stage.live_count + 1))
            assert [ranked[patch] for patch in stage.kept_patches] == list(range(1, len(stage.kept_patches) + 1))
            assert [rank is None for rank in stage.ranks] == [score is None for score in stage.keep_scores]
            by_rank = [stage.keep_scores[patch] for patch in sorted(ranked, key=ranked.get)]
            assert by_rank == sorted(by_rank, reverse=True)
            assert min(by_rank[: len(stage.kept_patches)]) >= stage.cut_score >= by_rank[len(stage.kept_patches)]

    def test_have_ranks_and_no_cut_where_nothing_is_dropped(self, model, images):
        stage = analyze(model, images, AnalysisSettings(1.0)).stages[0]
        assert stage.cut_score is None
        assert sorted(stage.ranks) == list(range(1, 65))
        assert stage.keep_scores[stage.ranks.index(1)] == max(stage.keep_scores)

    def test_cut_halfway_between_the_last_kept_and_the_first_dropped(self):
        stage = StageView(2, 3, 4, (4, 0), (0.75, None, 0.25, 0.125, 0.75))
        assert stage.ranks == (1, None, 3, 4, 2)
        assert stage.cut_score == 0.5

    def test_kept_patches_rank_before_dropped_ones_of_the_same_score(self):
        assert StageView(1, 3, 3, (2,), (0.5, 0.5, 0.5)).ranks == (2, 3, 1)

    def test_take_a_ratio_each(self, model, images):
        stages = analyze(model, images, AnalysisSettings((0.9, 0.9, 0.25))).stages
        assert [len(stage.kept_patches) for stage in stages] == [57, 57, 16]


class TestMerging:
    def test_says_which_patches_share_a_token(self, model, images):
        stages = analyze(model, images, AnalysisSettings(0.5, "merging")).stages
        assert [len(stage.kept_patches) for stage in stages] == [32, 16, 8]
        for stage in stages:
            assert len(stage.groups) == 64
            assert [stage.groups[patch] for patch in stage.kept_patches] == list(range(len(stage.kept_patches)))
            sizes = [stage.groups.count(group) for group in stage.groups]
            assert stage.keep_scores == pytest.approx([1 / size for size in sizes])

    def test_ranks_nothing_and_cuts_nowhere(self, model, images):
        stage = analyze(model, images, AnalysisSettings(0.5, "merging")).stages[0]
        assert set(stage.ranks) == {None}
        assert stage.cut_score is None

    def test_others_have_no_groups(self, result):
        assert all(stage.groups is None for stage in result.stages)


class TestAdaptiveMode:
    def test_shows_how_many_each_stage_kept(self, model, images):
        few, many = (analyze(model, images, AnalysisSettings(KeepMass(share))) for share in (0.3, 0.8))
        assert few.settings.budget == KeepMass(0.3)
        for less, more in zip(few.stages, many.stages, strict=True):
            assert 1 <= len(less.kept_patches) < len(more.kept_patches) < 64
        assert few.pruned.macs.total < many.pruned.macs.total

    def test_settings_can_be_looked_up(self):
        assert {AnalysisSettings(KeepMass(0.5)): 1}[AnalysisSettings(KeepMass(0.5))] == 1

    def test_is_refused_to_other_selectors(self, model, images):
        with pytest.raises(SettingError, match="give a keep ratio"):
            analyze(model, images, AnalysisSettings(KeepMass(0.5), "random"))


class TestSettings:
    def test_can_be_looked_up(self):
        assert {AnalysisSettings(0.7): 1}[AnalysisSettings(0.7, "predictor", 0)] == 1

    def test_a_list_of_ratios_becomes_a_tuple(self):
        assert AnalysisSettings([0.9, 0.5]) == AnalysisSettings((0.9, 0.5))
        assert hash(AnalysisSettings([0.9, 0.5])) == hash(AnalysisSettings((0.9, 0.5)))

    def test_are_repeated_in_the_result(self, result):
        assert result.settings == AnalysisSettings(0.7, "predictor", 0)

    def test_the_seed_decides_the_random_choice(self, model, images):
        first, again, other = (analyze(model, images, AnalysisSettings(0.5, "random", seed)) for seed in (1, 1, 2))
        assert first.stages == again.stages
        assert first.stages[0].kept_patches != other.stages[0].kept_patches

    @pytest.mark.parametrize(("budget", "selector"), [(0.0, "predictor"), (0.5, "best"), ((0.5,), "predictor")])
    def test_that_make_no_sense_are_refused(self, model, images, budget, selector):
        with pytest.raises(SettingError):
            analyze(model, images, AnalysisSettings(budget, selector))

    def test_a_model_without_stages_is_refused(self, images):
        with pytest.raises(SettingError, match="no pruning stages"):
            analyze(create_model(TINY, prune_locations=()), images, AnalysisSettings(0.5))

    def test_two_pictures_at_once_are_refused(self, model):
        with pytest.raises(ImageError, match="one image at a time"):
            analyze(model, torch.zeros(2, 3, 32, 32), AnalysisSettings(0.5))


class TestHierarchicalModels:
    @pytest.fixture
    def result(self):
        config = ConvNeXtConfig(
            image_size=64, widths=(4, 8, 16, 32), depths=(1, 1, 3, 1), num_classes=10, prune_locations=(0, 2)
        )
        return analyze(decided_model(config), torch.randn(1, 3, 64, 64), AnalysisSettings(0.6))

    def test_say_that_nothing_is_dropped(self, model, images, result):
        assert not result.drops_tokens
        assert all(stage.has_fast_path and stage.live_count == 16 for stage in result.stages)
        assert [len(stage.kept_patches) for stage in result.stages] == [9, 6]
        assert analyze(model, images, AnalysisSettings(0.6)).drops_tokens

    def test_score_every_position_at_every_stage(self, result):
        for stage in result.stages:
            assert None not in stage.keep_scores
            assert sorted(stage.ranks) == list(range(1, 17))
            assert stage.cut_score is not None

    def test_save_compute(self, result):
        assert 0 < result.saved_share < 1
        assert result.pruned.macs.predictors > 0


class TestAnalyzeImage:
    def test_takes_a_path_bytes_and_a_decoded_picture(self, model, picture, tmp_path):
        path = tmp_path / "photo.png"
        path.write_bytes(picture)
        expected = analyze(model, prepare(decode(picture), TINY).tensor, AnalysisSettings(0.5, "random", 3))
        for image in (path, str(path), picture, decode(picture)):
            assert analyze_image(model, image, 0.5, "random", 3) == expected

    def test_uses_the_papers_setting_when_none_is_given(self, model, picture):
        assert analyze_image(model, picture).settings == AnalysisSettings(0.7, "predictor", 0)

    def test_an_image_too_small_to_judge_by_brings_a_warning(self, model):
        with pytest.warns(UserWarning, match="20 x 50 pixels is too small to judge by"):
            analyze_image(model, DecodedImage(np.zeros((50, 20, 3), np.uint8), "PNG"))

    def test_a_bad_picture_is_the_users_error(self, model):
        with pytest.raises(ImageError):
            analyze_image(model, b"nothing")
