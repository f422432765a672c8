"""Any small model that can be described."""

from hypothesis import strategies as st

from dynamicvit.models.config import ModelConfig, Preprocessing


def numbers(low, high):
    return st.floats(low, high, allow_nan=False, width=64)


def preprocessings():
    three = [st.tuples(*[numbers(low, 10)] * 3) for low in (-10, 0.01)]
    return st.builds(Preprocessing, crop_ratio=numbers(0.1, 1), mean=three[0], std=three[1])


@st.composite
def model_configs(draw, embeddings=("patch", "lvvit", "lite0")):
    """Descriptions with every field free that models of a few hundred numbers can have."""
    embedding = draw(st.sampled_from(embeddings))
    patch_size = 16 if embedding == "lite0" else draw(st.sampled_from([2, 4, 8]))
    depth = draw(st.integers(1, 4))
    num_heads = draw(st.integers(1, 4))
    token_features = draw(st.integers(1 if embedding == "lite0" else 0, 6)) if embedding != "lvvit" else 0
    return ModelConfig(
        image_size=patch_size * draw(st.integers(1, 3)),
        patch_size=patch_size,
        embed_dim=num_heads * draw(st.sampled_from([4, 8])),
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=draw(numbers(0.25, 4)),
        qkv_bias=draw(st.booleans()),
        num_classes=draw(st.integers(1, 12)),
        norm_eps=draw(numbers(0, 1)),
        residual_divisor=draw(numbers(0.1, 10)),
        drop_path_rate=draw(numbers(0, 1)),
        embedding=embedding,
        has_aux_head=embedding == "lvvit",
        token_features=token_features,
        candidate_classes=draw(st.integers(0, 5)) if token_features else 0,
        prune_locations=tuple(sorted(draw(st.sets(st.integers(0, depth - 1))))),
        trained_keep_ratios=tuple(draw(st.lists(numbers(0.01, 1), max_size=3))),
        preprocessing=draw(preprocessings()),
    )
