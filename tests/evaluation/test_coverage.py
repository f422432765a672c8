"""Coverage compares kept patches with boxes in known places, through the crop that the model sees."""

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dynamicvit.datasets import Photo, Share
from dynamicvit.errors import ImageError
from dynamicvit.evaluation.accuracy import EvaluationSetting
from dynamicvit.evaluation.coverage import SceneBoxes, central_patches, measure_coverage, patches_inside, read_boxes
from dynamicvit.images import CropBox
from dynamicvit.models.config import ModelConfig, Preprocessing
from dynamicvit.models.registry import create_model

PREDICTOR = EvaluationSetting(0.5)


def create_tiny_model():
    """4 x 4 patches, no resizing: the crop of an 80 x 32 image is its columns 24 to 56."""
    config = ModelConfig(
        image_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=10,
        prune_locations=(1,),
        preprocessing=Preprocessing(crop_ratio=1.0),
    )
    return create_model(config)


class Brightness(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8).expand(-1, 24, -1, -1)


class BrightFirst(torch.nn.Module):
    def forward(self, tokens, keep_mask=None):
        return tokens[..., :2]


@pytest.fixture(scope="module")
def model():
    return create_tiny_model()


@pytest.fixture(scope="module")
def finds_white():
    """A model that keeps the brightest patches."""
    model = create_tiny_model()
    model.patch_embed = Brightness()
    model.score_predictor = torch.nn.ModuleList([BrightFirst()])
    torch.nn.init.zeros_(model.pos_embed)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attn.proj.weight)
        torch.nn.init.zeros_(block.mlp.fc2.weight)
    return model


def scene(name="scene.png", white=None, size=(80, 32)):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    if white is not None:
        left, top, right, bottom = white
        pixels[top:bottom, left:right] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return Photo(name, stream.getvalue(), None)


def test_a_patch_is_inside_when_its_centre_is():
    # Patches of 8 pixels from (100, 50) on: centres at x = 104, 112, 120, 128 and y = 54, 62, 70, 78.
    crop = CropBox(100, 50, 132, 82)
    inside = patches_inside(torch.tensor([[111.0, 61.0, 121.0, 63.0]]), crop, 4)
    assert inside.nonzero().flatten().tolist() == [5, 6]
    assert patches_inside(torch.tensor([[113.0, 50.0, 119.0, 82.0]]), crop, 4).sum() == 0
    both = patches_inside(torch.tensor([[100.0, 50, 105, 55], [127.0, 77, 132, 82]]), crop, 4)
    assert both.nonzero().flatten().tolist() == [0, 15]
    assert patches_inside(torch.empty(0, 4), crop, 4).sum() == 0


@given(st.integers(1, 8), st.lists(st.floats(-50, 150, allow_nan=False), min_size=4, max_size=4))
def test_a_mirrored_scene_has_mirrored_patches(side, sides):
    left, right = sorted(sides[::2])
    top, bottom = sorted(sides[1::2])
    crop = CropBox(0, 0, 100, 100)
    inside = patches_inside(torch.tensor([[left, top, right, bottom]], dtype=torch.float64), crop, side)
    mirrored = patches_inside(torch.tensor([[100 - right, top, 100 - left, bottom]], dtype=torch.float64), crop, side)
    # A centre exactly on a box's edge may fall to either side by rounding.
    middles = {100 * (i + 0.5) / side for i in range(side)}
    if not any(abs(x - middle) < 1e-9 for x in (left, right) for middle in middles):
        assert torch.equal(inside.reshape(side, side).flip(1), mirrored.reshape(side, side))


def test_the_centre_prior_takes_the_middle_first():
    order = central_patches(4).tolist()
    assert set(order[:4]) == {5, 6, 9, 10}
    assert set(order[-4:]) == {0, 3, 12, 15}
    assert central_patches(3)[0] == 4


def test_boxes_count_in_the_crop_that_the_model_sees(finds_white):
    # The two left columns of the crop are white, and the object; 8 of 16 patches are kept.
    box = (24.0, 0.0, 40.0, 32.0)
    [result] = measure_coverage(
        finds_white, [scene(white=(24, 0, 40, 32))], {"scene.png": SceneBoxes((80, 32), (box,))}, [PREDICTOR]
    )
    assert result.scenes == 1
    assert result.kept == 1
    assert result.chance == 0.5
    assert result.centre == 0.5  # as many patches right of the middle as left of it


def test_kept_patches_beside_the_object_do_not_count(finds_white):
    box = (40.0, 0.0, 56.0, 32.0)
    [result] = measure_coverage(
        finds_white, [scene(white=(24, 0, 40, 32))], {"scene.png": SceneBoxes((80, 32), (box,))}, [PREDICTOR]
    )
    assert (result.kept, result.chance) == (0, 0.5)


def test_boxes_that_were_drawn_on_a_larger_picture_are_scaled(finds_white):
    box = (48.0, 0.0, 80.0, 64.0)
    [result] = measure_coverage(
        finds_white, [scene(white=(24, 0, 40, 32))], {"scene.png": SceneBoxes((160, 64), (box,))}, [PREDICTOR]
    )
    assert (result.kept, result.chance) == (1, 0.5)


@pytest.mark.parametrize("selector", ["predictor", "random", "grid"])
def test_keeping_all_patches_covers_as_much_as_chance(model, selector):
    boxes = {"scene.png": SceneBoxes((80, 32), ((20.0, 3.0, 35.0, 30.0),))}
    [result] = measure_coverage(model, [scene()], boxes, [EvaluationSetting(1.0, selector)])
    assert result.scenes == 1
    assert result.kept == result.centre == result.chance == 0.25


def test_scenes_whose_boxes_are_tiny_or_fill_the_crop_do_not_count(model):
    sizes = {
        "none": 24,
        "one": 32,
        "most": 48,
        "all": 56,
    }  # right sides of boxes from column 24 on: 0, 4, 12, 16 patches
    boxes = {name: SceneBoxes((80, 32), ((24.0, 0.0, float(right), 32.0),)) for name, right in sizes.items()}
    [result] = measure_coverage(model, [scene(name) for name in sizes], boxes, [PREDICTOR])
    assert result.scenes == 1
    assert result.chance == 0.25


def test_photos_without_boxes_and_unreadable_ones_are_left_out(model):
    boxes = dict.fromkeys(("a", "broken"), SceneBoxes((80, 32), ((24.0, 0.0, 40.0, 32.0),)))
    photos = [scene("a"), scene("b"), Photo("broken", b"", None)]
    finished = []
    [result] = measure_coverage(model, photos, boxes, [PREDICTOR], on_batch=finished.append)
    assert result.scenes == 1
    assert finished == [2]


def test_sums_add_over_the_shares_of_processes(model):
    photos = [scene(str(index), (10 * index, 0, 10 * index + 20, 32)) for index in range(5)]
    boxes = {str(index): SceneBoxes((80, 32), ((24.0, 0.0, 40.0 - 2 * index, 20.0 + index),)) for index in range(5)}
    settings = [PREDICTOR, EvaluationSetting(0.2, "random", 1)]
    whole = measure_coverage(model, photos, boxes, settings, 2)
    shares = [measure_coverage(model, photos, boxes, settings, 2, share=Share(index, 2)) for index in range(2)]
    for expected, first, second in zip(whole, *shares, strict=True):
        joined = first + second
        assert joined.scenes == expected.scenes == 5
        assert (joined.kept, joined.centre, joined.chance) == pytest.approx(
            (expected.kept, expected.centre, expected.chance)
        )


def test_boxes_of_another_picture_are_refused(model):
    boxes = {"scene.png": SceneBoxes((32, 80), ((0.0, 0.0, 9.0, 9.0),))}
    with pytest.raises(ImageError, match="32 x 80"):
        measure_coverage(model, [scene()], boxes, [PREDICTOR])


def test_boxes_are_read_from_json(tmp_path):
    path = tmp_path / "boxes.json"
    objects = [{"name": "dog", "difficult": 0, "box": [1, 2.5, 3, 4]}, {"name": "cat", "box": [5, 6, 7, 8]}]
    path.write_text(json.dumps({"a.jpg": {"size": [40, 30], "objects": objects}}), encoding="utf-8")
    assert read_boxes(path) == {"a.jpg": SceneBoxes((40, 30), ((1, 2.5, 3, 4), (5, 6, 7, 8)))}


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"a.jpg": []}',
        '{"a.jpg": {"size": [40], "objects": []}}',
        '{"a.jpg": {"size": [0, 30], "objects": []}}',
        '{"a.jpg": {"size": [40, 30], "objects": [{"box": [1, 2, 3]}]}}',
        '{"a.jpg": {"size": [40, 30], "objects": [{"name": "dog"}]}}',
    ],
)
def test_other_json_is_refused_as_boxes(tmp_path, text):
    path = tmp_path / "boxes.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ImageError, match=r"boxes\.json"):
        read_boxes(path)


def test_a_missing_file_of_boxes_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"missing\.json"):
        read_boxes(tmp_path / "missing.json")
