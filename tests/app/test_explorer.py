"""What the page asks for, without a page."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copy
from types import MappingProxyType

import pytest
import torch
from conftest import EXAMPLES
from PIL import Image

from dynamicvit import create_model, save_model
from dynamicvit.analysis.results import Analysis, AnalysisSettings, Classification, Prediction, StageView
from dynamicvit.app import explorer
from dynamicvit.app.api import analyze_bytes
from dynamicvit.app.explorer import budget_note, describe_analysis, describe_timing, ratio_note
from dynamicvit.app.state import AppState
from dynamicvit.app.uploads import Upload, UploadError
from dynamicvit.app.words import words_in
from dynamicvit.budget import KeepMass, Schedule, as_budget
from dynamicvit.costs.benchmark import PairTiming, Timing
from dynamicvit.costs.macs import MacReport
from dynamicvit.errors import DownloadError, SettingError
from dynamicvit.models.config import ModelConfig

PUBLISHED = "dynamic-vit_deit-s_r0.7.pth"


@pytest.fixture
def photo(tmp_path: Path) -> Upload:
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((320, 240)).save(path)
    return Upload(path.name, path)


@pytest.fixture
def model(state: AppState) -> str:
    key = state.first_model()
    assert key is not None
    return key


def counts(answer: dict) -> list[int]:
    return [len(stage["kept"]) for stage in answer["stages"]]


def test_another_process_that_does_not_know_an_image_asks_to_add_it_again(
    state: AppState, photo: Upload, model: str
) -> None:
    scene = explorer.open_file(state, photo, model)
    other = AppState(state.checkpoints, EXAMPLES)
    answer = explorer.analyse(other, scene["image"], model, {"keep_ratio": 0.5})
    assert answer == {"problem": "This image is no longer in the app's memory; add it again."}


def test_first_scene_is_analysed_and_ready_for_json(state: AppState) -> None:
    scene = json.loads(json.dumps(explorer.first_scene(state)))
    assert counts(scene["answer"]) == [137, 96, 67]
    assert scene["answer"]["settings"] == {"keep_ratio": 0.7}
    assert scene["picture"].startswith("data:image/jpeg;base64,")


def test_a_model_with_a_fast_path_is_not_said_to_drop_anything(tmp_path: Path) -> None:
    model = create_model("dynamicvit_convnext_tiny", depths=(1, 1, 3, 1), prune_locations=(0, 1))
    save_model(model, tmp_path / "convnext.safetensors")
    answer = explorer.first_scene(AppState(tmp_path, EXAMPLES))["answer"]
    assert answer["methods"] == ("predictor", "random", "grid", "none")
    assert (answer["ratio_step"], answer["terms"]) == (0.2, ("r", "r \N{MINUS SIGN} 0.2"))
    said = [answer["summary"], *(stage[name] for stage in answer["stages"] for name in ("count", "label"))]
    assert all("slow path" in text and "drop" not in text and "keeps" not in text for text in said)


def test_without_a_model_the_first_scene_says_what_to_do(tmp_path: Path) -> None:
    assert "download" in explorer.first_scene(AppState(tmp_path))["problem"]


def test_uploaded_picture_is_analysed_at_any_ratio(state: AppState, model: str, photo: Upload) -> None:
    scene = explorer.open_file(state, photo, model)
    assert counts(explorer.analyse(state, scene["image"], model, {"keep_ratio": 0.5})) == [98, 49, 24]
    everything = explorer.analyse(state, scene["image"], model, {"keep_ratio": 1.0})
    assert counts(everything) == [196, 196, 196]
    assert everything["agrees"]


def test_same_file_opened_twice_gets_two_keys(state: AppState, model: str, photo: Upload) -> None:
    assert explorer.open_file(state, photo, model)["image"] != explorer.open_file(state, photo, model)["image"]


def test_no_picture_gives_a_sentence(state: AppState, model: str) -> None:
    assert "add one" in explorer.open_file(state, None, model)["problem"]


def test_broken_file_gives_a_sentence(state: AppState, model: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    assert "damaged or incomplete" in explorer.open_file(state, Upload(broken.name, broken), model)["problem"]


def test_unknown_picture_gives_a_sentence(state: AppState, model: str) -> None:
    assert "add it again" in explorer.analyse(state, "forgotten", model, {"keep_ratio": 0.5})["problem"]


def test_same_problem_twice_is_news_both_times(state: AppState, model: str) -> None:
    assert explorer.open_file(state, None, model) != explorer.open_file(state, None, model)


@pytest.mark.parametrize("ratio", [0.05, 1.01, math.nan, math.inf, "0.5", None])
def test_ratio_outside_the_slider_gives_a_sentence(state: AppState, model: str, ratio: object) -> None:
    assert "from 0.10 to 1.00" in explorer.analyse(state, "butterfly", model, {"keep_ratio": ratio})["problem"]


def test_stages_can_have_ratios_of_their_own(state: AppState, model: str) -> None:
    assert counts(explorer.analyse(state, "cat", model, {"keep_ratio": [0.9, 0.5, 0.5]})) == [176, 98, 98]
    assert "one for each stage" in explorer.analyse(state, "cat", model, {"keep_ratio": [0.9, 0.5]})["problem"]


def test_adaptive_mode_gives_each_picture_its_own_number_of_tokens(state: AppState, model: str) -> None:
    few, many = (explorer.analyse(state, "cat", model, {"keep_mass": share}) for share in (0.3, 0.9))
    assert all(less < more for less, more in zip(counts(few), counts(many), strict=True))
    assert counts(explorer.analyse(state, "cat", model, {"keep_mass": 1.0})) == [196, 196, 196]


def test_model_that_is_not_downloaded_gives_a_sentence(state: AppState) -> None:
    assert "download it first" in explorer.change_model(state, "butterfly", PUBLISHED)["problem"]


@pytest.mark.parametrize("settings", [{"keep_ratio": 0.5}, {"keep_ratio": [0.5, 0.4, 0.1]}, {"keep_mass": 0.5}])
def test_measurement_names_runs_and_device(state: AppState, model: str, settings: dict) -> None:
    measured = explorer.measure(state, "butterfly", model, settings)
    assert float(measured["dense"]) > 0
    assert "Median of" in measured["note"]
    assert "thread" in measured["note"] or torch.cuda.is_available()


def test_a_measurement_is_told_in_chinese_with_the_threads_of_the_device(state: AppState, model: str) -> None:
    note = explorer.measure(state, "butterfly", model, {"keep_ratio": 0.5}, "zh")["note"]
    assert "thread" not in note
    assert "个线程" in note or torch.cuda.is_available()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU models stay in float32")
def test_a_measurement_in_bfloat16_says_so_beside_the_device(checkpoints: Path) -> None:
    state = AppState(checkpoints, EXAMPLES, precision="bfloat16")
    assert ", bfloat16." in explorer.measure(state, "cat", None, {"keep_ratio": 0.7})["note"]


def test_visitors_at_once_get_what_they_would_get_alone(state: AppState, model: str) -> None:
    wishes = [{"keep_ratio": ratio} for ratio in (0.2, 0.4, 0.6, 0.8)]
    with ThreadPoolExecutor(4) as visitors:
        together = list(visitors.map(lambda wish: explorer.analyse(state, "cat", model, wish), wishes))
    alone = AppState(state.checkpoints, EXAMPLES)
    assert together == [explorer.analyse(alone, "cat", model, wish) for wish in wishes]


def test_file_dropped_into_the_folder_appears(state: AppState, model: str, tmp_path: Path) -> None:
    late = AppState(tmp_path)
    assert late.first_model() is None
    copy(state.checkpoints / model, tmp_path / "mine.safetensors")
    assert late.first_model() == "mine.safetensors"


def test_model_of_ones_own_answers_with_the_names_of_its_classes(photo: Upload, tmp_path: Path) -> None:
    own = create_model("dynamicvit_deit_256_patch16_224", num_heads=8, depth=3, prune_locations=(1,), num_classes=2)
    save_model(own, tmp_path / "colours.safetensors", class_names=["blue", "red"])
    state = AppState(tmp_path)
    answer = analyze_bytes(state, photo.read(), {"keep_ratio": 0.5}, "colours.safetensors")
    assert {best["label"] for best in answer["pruned"]["top"]} == {"blue", "red"}
    assert state.load("colours.safetensors").model.config == own.config


def test_overwritten_weights_are_loaded_anew(state: AppState, model: str, tmp_path: Path) -> None:
    copy(state.checkpoints / model, tmp_path / model)
    own = AppState(tmp_path, EXAMPLES)
    before = explorer.analyse(own, "butterfly", model, {"keep_ratio": 0.5})
    damaged = bytearray((tmp_path / model).read_bytes())
    damaged[-4000:] = bytes(4000)
    (tmp_path / model).write_bytes(damaged)
    assert explorer.analyse(own, "butterfly", model, {"keep_ratio": 0.5}) != before


def test_unusable_weight_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.safetensors").write_bytes(b"no weights")
    state = AppState(tmp_path)
    assert "wrong.safetensors" in " ".join(state.unusable_files())


def test_failed_download_gives_its_sentence(state: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise DownloadError("No connection; try again later.")

    monkeypatch.setattr(explorer, "download", fail)
    with pytest.raises(DownloadError, match="try again later"):
        explorer.fetch(state, PUBLISHED, lambda done, total: None)


def test_program_gets_plain_numbers(state: AppState, model: str, photo: Upload) -> None:
    answer = json.loads(json.dumps(analyze_bytes(state, photo.read(), {"keep_ratio": 0.5}, None)))
    assert answer["model"] == model
    assert [len(stage["kept_patches"]) for stage in answer["stages"]] == [98, 49, 24]
    assert answer["saved_share"] == pytest.approx(1 - answer["pruned"]["gmacs"] / answer["dense"]["gmacs"])


def test_small_picture_is_said_to_be_too_small_to_judge_by(state: AppState, model: str, tmp_path: Path) -> None:
    path = tmp_path / "icon.png"
    Image.new("RGB", (48, 48), "teal").save(path)
    upload = Upload(path.name, path)
    key = explorer.open_file(state, upload, model)["image"]
    assert "too small to judge by" in explorer.analyse(state, key, model, {"keep_ratio": 0.5})["note"]
    assert "too small to judge by" in analyze_bytes(state, upload.read(), {"keep_ratio": 0.5}, model)["caution"]
    assert "small" not in explorer.analyse(state, "cat", model, {"keep_ratio": 0.5})["note"]


def test_program_gets_errors_raised(state: AppState, photo: Upload) -> None:
    with pytest.raises(SettingError):
        analyze_bytes(state, photo.read(), {"keep_ratio": 2.0}, None)
    with pytest.raises(UploadError):
        Upload("nowhere.png", Path("/nowhere.png")).read()


# The sentences and numbers of the page

ENGLISH = words_in("en")
CONFIG = ModelConfig(prune_locations=(3, 6, 9))
Budget = float | tuple[float, ...] | KeepMass


def result(label: str, probability: float, macs: int, predictors: int = 0) -> Classification:
    report = MacReport(MappingProxyType({"blocks.0": macs - predictors, "score_predictor.0": predictors}))
    return Classification((Prediction(len(label), label, probability),), report)


def analysis(dense: Classification, pruned: Classification, budget: Budget) -> Analysis:
    stage = StageView(1, 3, 4, (2, 0, 1), (0.5, 0.25, 0.75, 0.1))
    return Analysis(AnalysisSettings(budget), (2, 2), dense, pruned, (stage,))


def described(dense: Classification, pruned: Classification, budget: Budget = 0.75) -> dict:
    return describe_analysis(analysis(dense, pruned, budget), "Cat", CONFIG, (0.7,), ENGLISH)


def timing(dense_ms: float, pruned_ms: float) -> PairTiming:
    pair = [Timing(ms, ms, ms, 9) for ms in (dense_ms, pruned_ms)]
    return PairTiming(*pair, dense_ms / pruned_ms, "a test state", 1)


def test_stage_says_its_count_in_words() -> None:
    stage = described(result("cat", 0.9, 10**9), result("cat", 0.8, 10**9))["stages"][0]
    assert f"{stage['name']} {stage['count']}" == "Stage 1 3 of 4 tokens"
    assert (stage["percent"], stage["detail"]) == ("75\N{NO-BREAK SPACE}%", "after block 3 of 12")
    assert stage["kept"] == [2, 0, 1]


def test_stage_brings_what_the_browser_says_of_a_patch() -> None:
    stage = described(result("cat", 0.9, 10**9), result("cat", 0.8, 10**9))["stages"][0]
    assert stage["scores"] == [5000, 2500, 7500, 1000]
    assert (stage["ranks"], stage["live"]) == ([2, 3, 1, 4], 4)
    assert stage["cut"] == 1750  # halfway between 0.25 and 0.1


@pytest.mark.parametrize(
    ("budget", "aside", "note"),
    [
        (0.7, "ratio 0.70", "trained for this ratio"),
        ((0.7, 0.5, 0.25), "ratios 0.70 · 0.50 · 0.25", "A ratio of its own for each stage; trained for r, r² and r³."),
        (KeepMass(0.9), "adaptive, 90\N{NO-BREAK SPACE}%", "what holds 90\N{NO-BREAK SPACE}% of its keep probability"),
    ],
)
def test_settings_are_named_beside_the_pruned_model(budget: Budget, aside: str, note: str) -> None:
    shown = described(result("cat", 0.9, 1), result("cat", 0.8, 1), budget)
    assert shown["pruned_aside"] == aside
    assert note in shown["note"]


@pytest.mark.parametrize(
    ("answer", "agrees", "verdict"),
    [("cat", True, "Same answer"), ("tiger", False, "Different answers")],
)
def test_agreement_is_said_in_words(answer: str, agrees: bool, verdict: str) -> None:
    shown = described(result("cat", 0.9, 10**9), result(answer, 0.8, 10**9))
    assert (shown["agrees"], shown["verdict"]) == (agrees, verdict)


def test_low_confidence_names_the_model_that_is_unsure() -> None:
    assert described(result("cat", 0.9, 1), result("cat", 0.8, 1))["confidence"] == ""
    assert "12.0\N{NO-BREAK SPACE}% (pruned)" in described(result("cat", 0.9, 1), result("cat", 0.12, 1))["confidence"]
    assert (
        "(dense) and 12.0\N{NO-BREAK SPACE}% (pruned)"
        in described(result("cat", 0.2, 1), result("cat", 0.12, 1))["confidence"]
    )


def test_macs_have_the_predictors_as_a_part() -> None:
    macs = described(result("cat", 0.9, 4_599_000_000), result("cat", 0.8, 2_981_000_000, 123_000_000))["macs"]
    assert macs == {
        "dense": "4.599",
        "pruned": "2.981",
        "predictors": "0.123",
        "saved": "35\N{NO-BREAK SPACE}%",
        "is_loss": False,
    }


def test_predictors_that_cost_more_than_pruning_saves_give_a_negative_share() -> None:
    macs = described(result("cat", 0.9, 10**9), result("cat", 0.8, 1_020_000_000))["macs"]
    assert (macs["saved"], macs["is_loss"]) == ("\N{MINUS SIGN}2\N{NO-BREAK SPACE}%", True)


def test_faster_model_gets_no_excuse() -> None:
    shown = describe_timing(timing(20.0, 15.0), 0.3, ENGLISH)
    assert (shown["dense"], shown["pruned"], shown["is_slower"]) == ("20.0", "15.0", False)
    assert shown["note"] == "Median of 9 runs each, in turn, one image at a time, on a test state."


@pytest.mark.parametrize(("saved", "reason"), [(0.3, "single image"), (-0.02, "hardly anything is dropped")])
def test_slower_model_is_said_to_be_slower_and_why(saved: float, reason: str) -> None:
    shown = describe_timing(timing(15.0, 20.0), saved, ENGLISH)
    assert shown["is_slower"]
    assert shown["note"].startswith("Pruning is slower here: 20.0 ms against 15.0 ms, because ")
    assert reason in shown["note"]


def test_nothing_is_said_of_training_where_nobody_knows() -> None:
    assert budget_note(as_budget((0.7, 0.5, 0.25)), Schedule(3), (), ENGLISH) == ""


def test_note_tells_trained_from_untrained_ratios() -> None:
    assert ratio_note(0.7, (0.7,), ENGLISH) == "The model was trained for this ratio."
    assert ratio_note(0.5, (0.7,), ENGLISH) == "Trained for 0.70, not for this ratio."
    assert ratio_note(0.6, (0.3, 0.5, 0.7), ENGLISH) == "Trained for 0.30, 0.50 and 0.70, not for this ratio."
    assert ratio_note(0.25, ((0.25, 0.9),), ENGLISH) == "The model was trained for this ratio."
    assert ratio_note(0.95, (0.1, (0.25, 0.9)), ENGLISH) == "Trained for 0.10 and 0.25 to 0.90, not for this ratio."
    assert ratio_note(0.5, (), ENGLISH) == ""
