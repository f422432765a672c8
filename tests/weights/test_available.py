from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import dynamicvit
from dynamicvit.__main__ import main
from dynamicvit.errors import CheckpointError, DownloadError, SettingError
from dynamicvit.models.config import ModelConfig, TimmViTConfig
from dynamicvit.models.registry import create_model
from dynamicvit.weights import available
from dynamicvit.weights.available import (
    SHIPPED_FILE,
    SHIPPED_TITLE,
    AvailableModel,
    checkpoint_folder,
    list_available,
    list_problems,
    load_model,
)
from dynamicvit.weights.io import save_model
from dynamicvit.weights.published import PUBLISHED, PublishedCheckpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


def local_of(models: list[AvailableModel]) -> list[AvailableModel]:
    return [model for model in models if model.is_local]


def test_without_any_files_all_published_checkpoints_are_offered_for_download(tmp_path):
    models = list_available(tmp_path / "none", tmp_path / "none either")
    assert [model.published for model in models] == list(PUBLISHED)
    assert not any(model.is_local for model in models)
    assert [(model.title, model.model, model.keep_ratios) for model in models] == [
        (known.title, known.model, (known.keep_ratio,)) for known in PUBLISHED
    ]


def test_the_shipped_file_comes_first_then_other_files_then_the_cache_then_downloads(
    folder, cache, tiny_model, tiny_file
):
    for path in (folder / SHIPPED_FILE, folder / "a.safetensors", cache / "b.safetensors"):
        shutil.copy(tiny_file, path)
    torch.save({"model": tiny_model.state_dict()}, folder / "c.pth")
    models = list_available(folder, cache)
    keys = [model.key for model in models]
    assert keys[:4] == [SHIPPED_FILE, "a.safetensors", "c.pth", "b.safetensors"]
    assert keys[4:] == [known.file_name for known in PUBLISHED]
    assert models[0].title == SHIPPED_TITLE
    assert len(set(keys)) == len(keys)


def test_an_own_file_is_described_by_its_name_its_shapes_and_its_header(folder, cache, tiny_file):
    shutil.copy(tiny_file, folder / "my model.safetensors")
    assert list_available(folder, cache)[0] == AvailableModel(
        key="my model.safetensors",
        title="my model",
        path=folder / "my model.safetensors",
        published=None,
        model="tiny",
        keep_ratios=(0.5, 0.7),
    )


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        ("0.7", (0.7,)),
        ("[0.5, 0.7]", (0.5, 0.7)),
        ("0.3:0.9", ((0.3, 0.9),)),
        ("0.2, 0.3 : 0.9", (0.2, (0.3, 0.9))),
        ("1", (1.0,)),
        ("", ()),
        ("all of them", ()),
        ("0, 7", ()),
        ("0.9:0.3", ()),
    ],
)
def test_keep_ratios_are_read_from_the_header_in_any_notation(folder, cache, tiny_model, text, ratios):
    save_model(tiny_model, folder / "own.safetensors", metadata={"keep_ratios": text})
    assert list_available(folder, cache)[0].keep_ratios == ratios


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tiny_model: torch.nn.Module) -> PublishedCheckpoint:
    """The only published checkpoint, of the tiny model."""
    known = PublishedCheckpoint("Tiny/0.5", "tiny", 0.5, "tiny_r0.5.safetensors", ("http://x",), ("http://x",), 50.0)
    monkeypatch.setattr(available, "PUBLISHED", (known,))
    return known


@pytest.mark.parametrize("place", ["folder", "cache"])
def test_a_published_file_keeps_its_key_and_title_once_it_is_here(folder, cache, tiny_file, published, place):
    (before,) = list_available(folder, cache)
    path = {"folder": folder, "cache": cache}[place] / published.file_name
    shutil.copy(tiny_file, path)
    (after,) = list_available(folder, cache)
    assert (before.path, after.path) == (None, path)
    assert (after.key, after.title, after.published) == (before.key, before.title, published)
    assert after.keep_ratios == (0.5,)


def test_a_file_in_the_folder_wins_over_one_of_that_name_in_the_cache(folder, cache, tiny_file, published):
    for place in (folder, cache):
        shutil.copy(tiny_file, place / published.file_name)
    assert [model.path for model in list_available(folder, cache)] == [folder / published.file_name]


def test_another_model_under_a_published_name_is_not_passed_off_as_it(folder, cache, tiny_file, published, monkeypatch):
    monkeypatch.setattr(available, "PUBLISHED", (replace(published, model="deit_small_patch16_224"),))
    shutil.copy(tiny_file, folder / published.file_name)
    (model,) = list_available(folder, cache)
    assert (model.model, model.published, model.title) == ("tiny", None, "tiny_r0.5")


def test_the_cache_is_the_configured_one_when_not_given(folder, cache, tiny_file, monkeypatch):
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(cache))
    shutil.copy(tiny_file, cache / "own.safetensors")
    assert [model.path for model in list_available(folder) if model.is_local] == [cache / "own.safetensors"]


def test_a_file_dropped_in_while_running_appears_and_one_taken_away_disappears(folder, cache, tiny_file):
    assert local_of(list_available(folder, cache)) == []
    shutil.copy(tiny_file, folder / "new.safetensors")
    assert [model.key for model in local_of(list_available(folder, cache))] == ["new.safetensors"]
    (folder / "new.safetensors").unlink()
    assert local_of(list_available(folder, cache)) == []


def test_a_file_is_opened_again_only_when_it_has_changed(folder, cache, tiny_file, monkeypatch):
    opened: list[Path] = []
    read_shapes = available.read_shapes
    monkeypatch.setattr(available, "read_shapes", lambda path: opened.append(path) or read_shapes(path))
    path = folder / "own.safetensors"
    shutil.copy(tiny_file, path)
    list_available(folder, cache)
    list_available(folder, cache)
    assert opened == [path]
    os.utime(path, ns=(0, 0))
    list_available(folder, cache)
    assert opened == [path] * 2
    path.write_bytes(b"")
    os.utime(path, ns=(0, 0))
    assert local_of(list_available(folder, cache)) == []
    assert opened == [path] * 3


def test_a_broken_file_is_left_out_and_named_and_hides_no_other(folder, cache, tiny_file):
    shutil.copy(tiny_file, folder / "good.safetensors")
    (folder / "cut.safetensors").write_bytes(tiny_file.read_bytes()[:100])
    (cache / "page.pth").write_bytes(b"<html></html>")
    torch.save({"layers.0.weight": torch.ones(1)}, folder / "swin.pth")
    assert [model.key for model in local_of(list_available(folder, cache))] == ["good.safetensors"]
    problems = list_problems(folder, cache)
    assert [problem.split()[0] for problem in problems] == ["cut.safetensors", "swin.pth", "page.pth"]


def test_a_broken_published_file_can_be_downloaded_again(folder, cache, published):
    (cache / published.file_name).write_bytes(b"")
    assert [model.path for model in list_available(folder, cache)] == [None]


def test_other_files_folders_and_unfinished_downloads_are_not_looked_at(folder, cache, tiny_file):
    (folder / "README.md").write_text("about the weights")
    (folder / "folder.pth").mkdir()
    (folder / "gone.pth").symlink_to(folder / "nowhere")
    for name in ("own.safetensors.part", ".own.safetensors"):
        shutil.copy(tiny_file, folder / name)
    assert local_of(list_available(folder, cache)) == []
    assert list_problems(folder, cache) == ()


def test_a_model_of_ones_own_is_listed_by_its_own_description(folder, cache):
    config = ModelConfig(image_size=32, patch_size=4, embed_dim=48, depth=6, num_heads=3, prune_locations=(1, 3, 5))
    save_model(create_model(config, num_classes=10), folder / "readme.safetensors", metadata={"keep_ratios": "0.3:0.9"})
    save_model(create_model("deit_256_patch16_224", num_classes=2), folder / "known.safetensors")
    found = {model.key: model for model in local_of(list_available(folder, cache))}
    assert (found["readme.safetensors"].model, found["known.safetensors"].model) == ("readme", "deit_256_patch16_224")
    assert found["readme.safetensors"].keep_ratios == ((0.3, 0.9),)
    assert list_problems(folder, cache) == ()


def test_a_file_that_describes_itself_wrongly_is_named(folder, cache, tiny_model):
    save_file(tiny_model.state_dict(), folder / "odd.safetensors", metadata={"config": '{"hight": 3}'})
    assert local_of(list_available(folder, cache)) == []
    assert list_problems(folder, cache)[0].startswith("odd.safetensors describes a model that is not known here")


def test_one_folder_for_both_lists_every_file_and_problem_once(folder, tiny_file):
    shutil.copy(tiny_file, folder / "good.safetensors")
    (folder / "bad.safetensors").write_bytes(b"")
    assert len(local_of(list_available(folder, folder))) == len(list_problems(folder, folder)) == 1


def test_weights_are_looked_for_where_the_environment_says_and_else_in_the_clone(monkeypatch, tmp_path):
    monkeypatch.setenv("DYNAMICVIT_CHECKPOINTS", str(tmp_path / "mine"))
    assert checkpoint_folder() == tmp_path / "mine"
    monkeypatch.delenv("DYNAMICVIT_CHECKPOINTS")
    assert checkpoint_folder() == Path(__file__).parents[2] / "checkpoints"


def test_an_installed_package_looks_in_the_cache_and_not_beside_itself(monkeypatch, tmp_path):
    monkeypatch.delenv("DYNAMICVIT_CHECKPOINTS", raising=False)
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(tmp_path / "cache"))
    installed = tmp_path / "site-packages" / "dynamicvit" / "weights" / "available.py"
    monkeypatch.setattr(available, "__file__", str(installed))
    (tmp_path / "site-packages" / "checkpoints").mkdir(parents=True)
    assert checkpoint_folder() == tmp_path / "cache"


def test_every_kind_of_foreign_file_is_listed_with_its_name(folder, cache):
    kinds = {
        "convnext.pth": "dynamicvit_convnext_tiny",
        "swin.pth": "dynamicvit_swin_tiny_patch4_window7_224",
        "deit.pth": "deit_small_patch16_224",
    }
    for file, name in kinds.items():
        with torch.device("meta"):
            shapes = create_model(name).state_dict()
        torch.save({key: torch.zeros(()).to(t.dtype).expand(t.shape) for key, t in shapes.items()}, folder / file)
    for name in ("vit_tiny_patch16_224", "vit_small_patch14_dinov2.lvd142m", "deit_tiny_distilled_patch16_224"):
        with torch.device("meta"):
            shapes = timm.create_model(name).state_dict()
        torch.save({key: torch.zeros(()).expand(t.shape) for key, t in shapes.items()}, folder / f"{name}.pth")
        kinds[f"{name}.pth"] = name
    assert {model.key: model.model for model in local_of(list_available(folder, cache))} == kinds
    assert list_problems(folder, cache) == ()


# By name -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def places(folder, cache, monkeypatch):
    """The folders that are looked at when none are given."""
    monkeypatch.setenv("DYNAMICVIT_CHECKPOINTS", str(folder))
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(cache))


def same_weights(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, others = model.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[key], others[key]) for key in mine)


def test_load_model_is_the_public_one():
    assert dynamicvit.load_model is load_model


@pytest.mark.parametrize("name", ["tiny", "Tiny/0.5", "tiny_r0.5.safetensors"])
@pytest.mark.parametrize("place", ["folder", "cache"])
def test_weights_that_are_here_are_found_by_the_name_of_the_model_the_title_and_the_file(
    places, request, tiny_model, tiny_file, published, place, name
):
    shutil.copy(tiny_file, request.getfixturevalue(place) / published.file_name)
    assert same_weights(load_model(name), tiny_model)


def test_a_file_where_one_stands_goes_before_one_found_by_name(places, folder, tiny_model, tiny_file, monkeypatch):
    save_model(create_model("tiny", num_classes=2), folder / "tiny.safetensors")
    monkeypatch.chdir(tiny_file.parent)
    assert same_weights(load_model("tiny.safetensors"), tiny_model)
    assert load_model(folder / "tiny.safetensors").config.num_classes == 2


def test_weights_that_are_not_here_are_fetched_only_when_that_is_asked_for(
    places, cache, tiny_file, tiny_model, published, monkeypatch
):
    def download(checkpoint, progress=None):
        assert checkpoint is published
        return shutil.copy(tiny_file, cache / checkpoint.file_name)

    monkeypatch.setattr(available, "download", download)
    with pytest.raises(CheckpointError, match=r"Tiny/0\.5 are not here; load_model\('tiny', fetch=True\).*http://x"):
        load_model("tiny")
    assert same_weights(load_model("tiny", fetch=True), tiny_model)
    assert same_weights(load_model("tiny"), tiny_model)


def test_the_command_fetches_each_name_and_says_where_it_is(places, cache, tiny_file, published, monkeypatch, capsys):
    monkeypatch.setattr(available, "download", lambda one, **_: shutil.copy(tiny_file, cache / one.file_name))
    main(["fetch", "tiny", "tiny"])  # the second time it is there
    assert capsys.readouterr().out == 2 * f"{cache / published.file_name}\n"
    with pytest.raises(SystemExit, match=r"no weight file nothing\.pth"):
        main(["fetch", "nothing.pth"])


def test_a_download_that_fails_says_so(places, published, monkeypatch):
    def download(checkpoint, progress=None):
        raise DownloadError("the connection was cut")

    monkeypatch.setattr(available, "download", download)
    with pytest.raises(DownloadError, match="was cut"):
        load_model("tiny", fetch=True)


def test_a_name_that_several_files_have_is_not_decided_by_chance(places, folder, tiny_file, published, monkeypatch):
    other = replace(published, title="Tiny/0.7", keep_ratio=0.7, file_name="tiny_r0.7.safetensors")
    monkeypatch.setattr(available, "PUBLISHED", (published, other))
    with pytest.raises(CheckpointError, match=r"tiny may be any of tiny_r0\.5\.safetensors, tiny_r0\.7\.safetensors"):
        load_model("tiny", fetch=True)
    shutil.copy(tiny_file, folder / other.file_name)
    assert load_model("tiny").config.depth == 3  # the one that is here
    shutil.copy(tiny_file, folder / published.file_name)
    with pytest.raises(CheckpointError, match="may be any of"):
        load_model("tiny")


def test_a_broken_file_that_is_named_is_said_to_be_broken(places, folder):
    (folder / "broken.pth").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"^broken\.pth is a web page"):
        load_model("broken.pth")


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("nothing.pth", CheckpointError, r"no weight file nothing\.pth"),
        ("a/b", CheckpointError, r"no weight file a/b"),
        ("deit_small_patch16_224", CheckpointError, r"load_model\('timm:deit_small_patch16_224'\)"),
        ("vit_tiny_patch16_224", CheckpointError, r"load_model\('timm:vit_tiny_patch16_224'\)"),
        ("swin_tiny_patch4_window7_224", CheckpointError, "none are published"),
        ("resnet18", SettingError, "no model 'resnet18'"),
        ("hub:somebody/vit", CheckpointError, "no weight file hub:somebody/vit"),
        ("magic", SettingError, "no model 'magic'; choose one of dynamicvit_deit_256"),
        ("", SettingError, "no model ''"),
        ("timm:magic", SettingError, "no model 'magic'"),
        ("timm:resnet18", SettingError, "ResNet"),
        ("hf-hub:", DownloadError, "could not be fetched"),
    ],
)
def test_a_name_that_leads_to_nothing_says_what_to_do(places, name, error, says):
    with pytest.raises(error, match=says) as caught:
        load_model(name)
    assert type(caught.value) is error


@pytest.mark.parametrize("source", ["timm:test_vit", "hf-hub:somebody/test_vit"])
def test_timms_pretrained_models_are_loaded_by_their_names(source, monkeypatch):
    network = timm.create_model("test_vit").eval()
    asked = []

    def create(name, pretrained=False):
        asked.append((name, pretrained))
        return network

    monkeypatch.setattr(timm, "create_model", create)
    model = load_model(source, prune_locations=(2, 4))
    assert asked[-1] == (source.removeprefix("timm:"), True)
    assert model.config.prune_locations == (2, 4)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(model(images), network(images), atol=1e-5, rtol=1e-5)
    with pytest.raises(SettingError, match="leave 'test_vit' out"):
        load_model(source, "test_vit")


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence(monkeypatch):
    def create(name, pretrained=False):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(DownloadError, match=r"^hf-hub:somebody/vit could not be fetched: no route$"):
        load_model("hf-hub:somebody/vit")


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224", "test_vit"]
)
def test_a_file_with_timms_names_is_loaded_by_its_own_name_and_by_a_given_one(tmp_path, name):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=6, img_size=32).eval()
    for path, given in ((tmp_path / f"{name}.pth", None), (tmp_path / "best.pth", name)):
        torch.save({"state_dict": network.state_dict()}, path)
        model = load_model(path, given, prune_locations=(1, 5))
        assert isinstance(model.config, TimmViTConfig)
        assert (model.config.num_classes, model.config.image_size) == (6, 32)
        assert model.config.prune_locations == (1, 5)
        images = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(model(images), network(images), atol=1e-5, rtol=1e-5)
            assert [stage.block for stage in model.forward_stages(images, 0.5).stages] == [1, 5]


def test_a_saved_plain_transformer_can_have_its_stages_moved(tmp_path):
    save_model(dynamicvit.from_timm("test_vit", (1, 2)), tmp_path / "own.safetensors")
    assert load_model(tmp_path / "own.safetensors").config.prune_locations == (1, 2)
    assert load_model(tmp_path / "own.safetensors", prune_locations=[0, 5]).config.prune_locations == (0, 5)
    assert load_model(tmp_path / "own.safetensors", "test_vit").config.prune_locations == (1, 2)
    with pytest.raises(SettingError, match="block numbers from 0 to 5"):
        load_model(tmp_path / "own.safetensors", prune_locations=(6,))


def test_stages_of_a_model_with_predictors_stay_where_they_are(tiny_file):
    with pytest.raises(SettingError, match=r"stages of tiny\.safetensors cannot be moved"):
        load_model(tiny_file, prune_locations=(2,))
