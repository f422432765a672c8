"""Any small model that can be described."""

from hypothesis import strategies as st

from dynamicvit.models.config import ConvNeXtConfig, ModelConfig, Preprocessing, SwinConfig, TimmViTConfig

BUILT_AT_ONCE = ("patch", "lvvit", "timm", "convnext", "swin")
"""The kinds of :func:`model_configs` whose models take milliseconds to build."""


def numbers(low, high):
    return st.floats(low, high, allow_nan=False, width=64)


def preprocessings():
    three = [st.tuples(*[numbers(low, 10)] * 3) for low in (-10, 0.01)]
    return st.builds(Preprocessing, crop_ratio=numbers(0.1, 1), mean=three[0], std=three[1])


def locations(depth):
    return st.sets(st.integers(0, depth - 1)).map(lambda chosen: tuple(sorted(chosen)))


def model_configs(kinds=(*BUILT_AT_ONCE, "lite0")):
    """Descriptions with every field free that models of a few thousand numbers can have."""
    return st.sampled_from(kinds).flatmap(lambda kind: _CONFIGS[kind]())


@st.composite
def common(draw):
    """Fields that every family has."""
    return {
        "mlp_ratio": draw(numbers(0.25, 4)),
        "num_classes": draw(st.integers(1, 12)),
        "drop_path_rate": draw(numbers(0, 1)),
        "trained_keep_ratios": tuple(draw(st.lists(numbers(0.01, 1), max_size=3))),
        "preprocessing": draw(preprocessings()),
    }


@st.composite
def sizes(draw, patch_sizes=(2, 4, 8)):
    """Fields that token models have."""
    patch_size, depth, num_heads = draw(st.sampled_from(patch_sizes)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return draw(common()) | {
        "image_size": patch_size * draw(st.integers(1, 3)),
        "patch_size": patch_size,
        "embed_dim": num_heads * draw(st.sampled_from([4, 8])),
        "depth": depth,
        "num_heads": num_heads,
        "qkv_bias": draw(st.booleans()),
        "norm_eps": draw(numbers(0, 1)),
        "prune_locations": draw(locations(depth)),
    }


@st.composite
def token_models(draw, embedding):
    return ModelConfig(
        **draw(sizes((16,) if embedding == "lite0" else (2, 4, 8))),
        residual_divisor=draw(numbers(0.1, 10)),
        embedding=embedding,
        has_aux_head=embedding == "lvvit",
    )


@st.composite
def timm_models(draw):
    pool = draw(st.sampled_from(["token", "avg"]))
    distillation_token = pool == "token" and draw(st.booleans())
    return TimmViTConfig(
        **draw(sizes()) | {"num_classes": draw(st.integers(0, 12))},
        class_token=pool == "token" or draw(st.booleans()),
        distillation_token=distillation_token,
        num_registers=0 if distillation_token else draw(st.integers(0, 3)),
        has_prefix_positions=draw(st.booleans()),
        pre_norm=draw(st.booleans()),
        layer_scale=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        activation=draw(st.sampled_from(["gelu", "gelu_tanh", "quick_gelu"])),
        pool=pool,
        is_norm_after_pool=draw(st.booleans()),
        has_predictors=draw(st.booleans()),
    )


@st.composite
def convnexts(draw):
    depths = draw(st.tuples(*[st.integers(1, 3)] * 4))
    return ConvNeXtConfig(
        **draw(common()),
        image_size=16 * draw(st.integers(2, 4)),
        widths=draw(st.tuples(*[st.sampled_from([4, 8, 12])] * 4)),
        depths=depths,
        prune_locations=draw(locations(depths[2])),
    )


@st.composite
def swins(draw):
    depths = draw(st.tuples(*[st.integers(1, 3)] * 4))
    width, window = draw(st.sampled_from([4, 8])), draw(st.integers(1, 3))
    return SwinConfig(
        **draw(common()),
        image_size=32 * window * draw(st.integers(1, 2)),
        widths=(width, 2 * width, 4 * width, 8 * width),
        depths=depths,
        heads=draw(st.tuples(*[st.sampled_from([1, 2, 4])] * 4)),
        window_size=window,
        prune_locations=draw(locations(depths[2])),
    )


_CONFIGS = {
    "patch": lambda: token_models("patch"),
    "lvvit": lambda: token_models("lvvit"),
    "lite0": lambda: token_models("lite0"),
    "timm": timm_models,
    "convnext": convnexts,
    "swin": swins,
}
