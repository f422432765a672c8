import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules import module as torch_module

from dynamicvit.budget import as_budget
from dynamicvit.costs.macs import MacCounter, MacReport
from dynamicvit.models.config import ModelConfig, SwinConfig
from dynamicvit.models.registry import create_model, model_config
from dynamicvit.models.selectors import GridSelector
from dynamicvit.models.vit import DynamicVisionTransformer

TINY = ModelConfig(
    image_size=32, patch_size=4, embed_dim=16, depth=4, num_heads=2, num_classes=10, prune_locations=(1, 2)
)

# Multiply-adds of the released models on one 224 x 224 image: GMACs dense, and pruned at each base keep ratio.
PUBLISHED = {
    "dynamicvit_deit_256_patch16_224": (2.136, {0.7: 1.375}),
    "dynamicvit_deit_small_patch16_224": (4.599, {0.9: 4.041, 0.8: 3.463, 0.7: 2.981, 0.6: 2.565, 0.5: 2.229}),
    "dynamicvit_deit_base_patch16_224": (17.564, {0.9: 15.512, 0.8: 13.323, 0.7: 11.476, 0.5: 8.561}),
    "dynamicvit_lvvit_small_patch16_224": (6.551, {0.9: 5.876, 0.8: 5.206, 0.7: 4.650, 0.5: 3.790}),
    "dynamicvit_lvvit_medium_patch16_224": (12.678, {0.9: 11.207, 0.8: 9.783, 0.7: 8.593, 0.5: 6.741}),
}
PUBLISHED_HIERARCHICAL = {
    "dynamicvit_convnext_tiny": (4.456, {0.9: 3.908, 0.7: 3.579}),
    "dynamicvit_convnext_small": (8.684, {0.9: 6.759, 0.7: 5.771}),
    "dynamicvit_convnext_base": (15.355, {0.9: 11.934, 0.7: 10.177}),
    "dynamicvit_swin_tiny_patch4_window7_224": (4.491, {0.9: 4.247, 0.7: 4.041}),
    "dynamicvit_swin_small_patch4_window7_224": (8.741, {0.9: 7.505, 0.7: 6.846}),
    "dynamicvit_swin_base_patch4_window7_224": (15.431, {0.9: 13.234, 0.7: 12.063}),
}


@pytest.fixture(scope="module")
def models():
    """The published models without numbers: on the meta device operators run on shapes alone."""
    with torch.device("meta"):
        return {name: create_model(name) for name in PUBLISHED | PUBLISHED_HIERARCHICAL}


@pytest.fixture(scope="module")
def tiny() -> DynamicVisionTransformer:
    return create_model(TINY)


def count(model, images, *args, mode=torch.inference_mode) -> MacReport:
    with mode(), MacCounter(model) as counter:
        model(images, *args)
    return counter.report()


def closed_form(config: ModelConfig, num_patches: int, keep_ratio: float | None) -> int:
    """Multiply-adds of blocks, predictors and heads; the embedding is left out."""
    dim, total, live, kept = config.embed_dim, 0, num_patches, []
    if keep_ratio is not None:
        kept = list(as_budget(keep_ratio).counts(config.schedule, num_patches))
    for block in range(config.depth):
        if kept and block in config.prune_locations:
            total += predictor_formula(dim, live)
            live = kept[config.prune_locations.index(block)]
        length = live + 1
        total += int(length * dim * dim * (4 + 2 * config.mlp_ratio)) + 2 * length * length * dim
    return total + dim * config.num_classes * (1 + live * config.has_aux_head)


def predictor_formula(dim: int, live: int) -> int:
    return live * (dim * dim + dim * dim // 2 + dim * dim // 8 + dim // 2)


@pytest.mark.parametrize("name", PUBLISHED | PUBLISHED_HIERARCHICAL)
def test_published_models_cost_what_was_counted_on_the_released_ones(models, name):
    dense, pruned = (PUBLISHED | PUBLISHED_HIERARCHICAL)[name]
    images = torch.empty(1, 3, 224, 224, device="meta")
    assert count(models[name], images).gmacs == pytest.approx(dense, abs=6e-4)
    for keep_ratio, gmacs in pruned.items():
        assert count(models[name], images, keep_ratio).gmacs == pytest.approx(gmacs, abs=6e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_follow_the_closed_form_exactly(models, name):
    images = torch.empty(1, 3, 224, 224, device="meta")
    for keep_ratio in (None, 0.7, 0.31):
        report = count(models[name], images, keep_ratio)
        embedding = report.within("patch_embed")
        assert report.total - embedding == closed_form(model_config(name), 196, keep_ratio)


def test_a_real_forward_pass_on_the_cpu_counts_fused_attention():
    model = create_model("dynamicvit_deit_256_patch16_224")
    report = count(model, torch.zeros(1, 3, 224, 224), 0.7)
    assert report.gmacs == pytest.approx(1.375, abs=6e-4)
    assert report.by_module["blocks.0.attn"] == 2 * 197 * 197 * 256


@settings(max_examples=25, deadline=None)
@given(keep_ratio=st.floats(0.05, 1.0), side=st.integers(2, 9), batch=st.integers(1, 3))
def test_any_keep_ratio_size_and_batch_follow_the_closed_form(tiny, keep_ratio, side, batch):
    report = count(tiny, torch.zeros(batch, 3, side * 4, side * 4), keep_ratio)
    embedding = side * side * 3 * 4 * 4 * 16
    assert report.total == batch * (embedding + closed_form(TINY, side * side, keep_ratio))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_every_attention_kernel_and_grad_mode_gives_the_same_report(tiny, mode, backend):
    images = torch.zeros(2, 3, 32, 32)
    expected = count(tiny, images, 0.7)
    with sdpa_kernel(backend):
        assert count(tiny, images, 0.7, mode=mode) == expected


def test_counting_does_not_change_the_prediction(tiny):
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = tiny(images, 0.5)
        with MacCounter(tiny):
            counted = tiny(images, 0.5)
    assert torch.equal(plain, counted)


def test_multiply_adds_belong_to_the_innermost_module(tiny):
    report = count(tiny, torch.zeros(1, 3, 32, 32))
    length, dim = 65, 16
    assert report.by_module["blocks.3.attn"] == 2 * length * length * dim
    assert report.by_module["blocks.3.attn.qkv"] == 3 * length * dim * dim
    assert report.within("blocks.3.attn") == 2 * length * length * dim + 4 * length * dim * dim
    assert report.within("blocks.3") == length * dim * dim * 12 + 2 * length * length * dim
    assert report.within("head") == dim * 10


def test_a_prefix_ends_at_a_dot(tiny):
    report = MacReport({"blocks.1": 1, "blocks.1.attn": 2, "blocks.11": 4})
    assert report.within("blocks.1") == 3
    assert report.within("blocks") == report.total == 7


def test_the_predictors_are_a_line_of_their_own(tiny):
    images = torch.zeros(1, 3, 32, 32)
    assert count(tiny, images, 0.5).predictors == predictor_formula(16, 64) + predictor_formula(16, 32)
    assert count(tiny, images).predictors == 0


def test_the_predictors_of_a_swin_are_found_within_its_third_stage():
    model = create_model(
        SwinConfig(
            image_size=32,
            widths=(4, 8, 16, 32),
            heads=(1, 1, 1, 1),
            window_size=4,
            num_classes=3,
            prune_locations=(1, 2),
        )
    )
    assert count(model, torch.zeros(1, 3, 32, 32), 0.5).predictors == 2 * predictor_formula(16, 4)


def test_a_selector_that_asks_no_predictor_does_not_pay_for_it(tiny):
    images = torch.zeros(1, 3, 32, 32)
    by_predictor, by_grid = count(tiny, images, 0.5), count(tiny, images, 0.5, GridSelector())
    assert by_grid.predictors == 0
    assert by_grid.total == by_predictor.total - by_predictor.predictors


def test_products_outside_any_module_belong_to_the_model_itself(tiny):
    with torch.inference_mode(), MacCounter(tiny) as counter:
        torch.ones(2, 3) @ torch.ones(3, 5)
    assert counter.report().by_module == {"": 30}


def test_another_model_does_not_shift_the_names(tiny):
    other = create_model(TINY)
    with torch.inference_mode(), MacCounter(tiny) as counter:
        other(torch.zeros(1, 3, 32, 32))
    assert set(counter.report().by_module) == {""}


def test_a_report_cannot_be_changed(tiny):
    report = count(tiny, torch.zeros(1, 3, 32, 32))
    with pytest.raises(TypeError):
        report.by_module["head"] = 0


def test_threads_that_share_the_model_do_not_mix(tiny):
    images = torch.zeros(1, 3, 32, 32)
    ratios = (None, 0.9, 0.6, 0.3)
    expected = {ratio: count(tiny, images, ratio) for ratio in ratios}
    together = threading.Barrier(len(ratios))

    def count_often(ratio):
        together.wait(timeout=30)
        return [count(tiny, images, ratio) for _ in range(10)]

    with ThreadPoolExecutor(len(ratios)) as pool:
        for ratio, reports in zip(ratios, pool.map(count_often, ratios), strict=True):
            assert all(report == expected[ratio] for report in reports)


def test_a_thread_that_does_not_count_is_not_counted(tiny):
    images = torch.zeros(1, 3, 32, 32)
    with MacCounter(tiny) as counter, ThreadPoolExecutor(1) as pool:
        pool.submit(tiny, images).result()
    assert counter.report().total == 0


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(tiny, fails):
    def hooks():
        return list(torch_module._global_forward_pre_hooks), list(torch_module._global_forward_hooks)

    before = hooks()
    counter = MacCounter(tiny)
    try:
        with counter:
            assert hooks() != before
            tiny(torch.zeros(1, 3, 32, 33 if fails else 32))
    except ValueError:
        assert fails
    assert hooks() == before
    total = counter.report().total
    tiny(torch.zeros(1, 3, 32, 32))
    assert counter.report().total == total


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_gpu_counts_what_the_cpu_counts(dtype):
    expected = count(create_model(TINY), torch.zeros(1, 3, 32, 32), 0.7)
    model = create_model(TINY).to("cuda", dtype)
    assert count(model, torch.zeros(1, 3, 32, 32, device="cuda", dtype=dtype), 0.7) == expected
