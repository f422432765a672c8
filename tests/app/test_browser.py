"""The page in a real browser; every test also fails on a request to another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import SET_SLIDER, Page, needs_browser
from PIL import Image

from dynamicvit.app.words import words_in

pytestmark = needs_browser


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def two_halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (400, 400), "blue")
    picture.paste("red", (0, 0, 200, 400))
    return picture.convert(mode)


def test_page_opens_with_an_analysed_example(page: Page) -> None:
    assert page.counts() == ["137 of 196 tokens", "96 of 196 tokens", "67 of 196 tokens"]
    assert page.raw.locator("[data-part=dense] li").count() == 5
    assert page.raw.locator("[data-part=pruned] li").count() == 5
    assert page.raw.locator("h1").count() == 1
    assert float(page.text("macs-pruned")) < float(page.text("macs-dense"))


def test_milliseconds_follow_when_the_slider_rests(page: Page) -> None:
    page.raw.wait_for_function("document.querySelector('[data-part=time-note]').textContent.includes('Median of')")
    assert float(page.text("time-dense")) > 0
    assert "thread" in page.text("time-note") or torch.cuda.is_available()


def test_arrow_keys_move_the_picture(page: Page) -> None:
    page.raw.locator("[data-part=slider]").focus()
    page.raw.keyboard.press("ArrowLeft")
    page.wait_for_ratio("0.69")
    assert page.text("ratio") == "0.69"
    assert page.counts()[0] == "135 of 196 tokens"
    page.raw.keyboard.press("Home")
    page.wait_for_ratio("0.10")
    assert page.counts() == ["19 of 196 tokens", "1 of 196 tokens", "1 of 196 tokens"]
    assert "not for this ratio" in page.text("note")


def test_mouse_moves_the_picture_while_it_drags(page: Page) -> None:
    box = page.raw.locator("[data-part=slider]").bounding_box()
    y = box["y"] + box["height"] / 2
    page.raw.mouse.move(box["x"] + box["width"] * 2 / 3, y)
    page.raw.mouse.down()
    page.raw.mouse.move(box["x"] + box["width"] / 2, y, steps=4)
    page.raw.wait_for_function("window.shown.length > 0")
    before_release = page.shown()[-1]
    page.raw.mouse.up()
    assert float(before_release) < 0.7
    page.wait_for_ratio(page.text("ratio"))
    assert page.counts()[0] == f"{int(196 * float(page.text('ratio')))} of 196 tokens"


def test_late_answer_does_not_overwrite_a_newer_one(page: Page) -> None:
    page.raw.evaluate("hold()")
    page.raw.evaluate(SET_SLIDER, "0.40")
    page.raw.evaluate(SET_SLIDER, "0.70")  # known already, so shown at once
    page.raw.evaluate("letGo()")
    page.raw.wait_for_function("answers === 1")
    page.raw.evaluate(SET_SLIDER, "0.45")
    page.wait_for_ratio("0.45")
    assert "0.40" not in page.raw.evaluate("window.shown")


def test_one_question_at_a_time_and_the_newest_wish_wins(page: Page) -> None:
    before = page.raw.evaluate("window.questions")
    page.raw.evaluate("hold()")
    for ratio in ("0.60", "0.55", "0.50", "0.45", "0.40"):
        page.raw.evaluate(SET_SLIDER, ratio)
    page.raw.evaluate("letGo()")
    page.wait_for_ratio("0.40")
    assert page.raw.evaluate("window.shown") == ["0.60", "0.40"]
    assert page.counts()[0] == "78 of 196 tokens"
    assert page.raw.evaluate("window.questions") - before <= 3  # the third is a measurement


def test_going_back_to_a_ratio_asks_nothing(page: Page) -> None:
    page.raw.evaluate(SET_SLIDER, "0.50")
    page.wait_for_ratio("0.50")
    page.raw.evaluate("window.questions = 0")
    page.raw.evaluate(SET_SLIDER, "0.70")
    page.wait_for_ratio("0.70")
    assert page.raw.evaluate("window.questions") == 0


def test_nothing_moves_but_the_picture(page: Page) -> None:
    places = (
        "[...document.querySelectorAll('.views, .results, .savings table, .models, .readout')].map((e) => e.offsetTop)"
    )
    before = page.raw.evaluate(places)
    for ratio in ("0.33", "0.10", "1.00"):
        page.raw.evaluate(SET_SLIDER, ratio)
        page.wait_for_ratio(ratio)
        assert page.raw.evaluate(places) == before


def test_the_crop_is_dragged_moved_by_keys_and_goes_back_to_the_middle(page: Page, tmp_path: Path) -> None:
    before = page.shown()[0]
    page.upload(save(two_halves().resize((800, 400)), tmp_path / "wide.png"))  # twice as wide as high: red, then blue
    page.wait_for_other_image(before)
    whole = page.shown()[0]
    frame = page.raw.locator("#crop [data-part=frame]")
    box = frame.bounding_box()
    page.raw.mouse.move(box["x"] + 20, box["y"] + 20)
    page.raw.mouse.down()
    page.raw.mouse.move(box["x"] - 300, box["y"] + 20, steps=3)
    page.raw.mouse.up()
    page.wait_for_other_image(whole)
    assert page.shown()[0] == f"{whole}@0.00,0.50"
    right = page.pixel(0, 0.95, 0.5)
    assert right[0] > right[2] + 80  # nothing but the red half
    frame.press("ArrowRight")
    page.wait_for_other_image(f"{whole}@0.00,0.50")
    assert page.shown()[0] == f"{whole}@0.05,0.50"
    page.raw.click("#crop [data-part=centre]")
    page.wait_for_other_image(f"{whole}@0.05,0.50")
    assert page.shown()[0] == whole


def test_any_kind_of_picture_can_be_uploaded(page: Page, tmp_path: Path) -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    kinds = {
        "CMYK": lambda: save(two_halves("CMYK"), tmp_path / "a.jpg"),
        "16 bit": lambda: save(Image.new("I;16", (300, 200), 40_000), tmp_path / "a.png"),
        "P": lambda: save(two_halves("P"), tmp_path / "a.gif"),
        "RGBA": lambda: save(two_halves("RGBA"), tmp_path / "a.webp"),
        "rotated": lambda: save(two_halves(), tmp_path / "b.jpg", exif=rotated),
        "TIFF": lambda: save(two_halves(), tmp_path / "a.tiff"),
    }
    for kind, make in kinds.items():
        before = page.shown()[0]
        page.upload(make())
        page.wait_for_other_image(before)
        assert page.raw.locator("[data-part=problem]").is_hidden(), kind
        first = page.pixel(0, 0.25, 0.25)
        other = page.pixel(0, 0.25, 0.75) if kind == "rotated" else page.pixel(0, 0.75, 0.25)
        if kind == "16 bit":
            assert all(abs(value - 156) < 6 for value in first)
        else:
            assert first[0] > first[2] + 80, kind  # red
            assert other[2] > other[0] + 80, kind  # blue


def test_broken_file_says_what_to_do_and_the_last_result_stays(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"this is no image")
    page.upload(broken)
    page.raw.locator("[data-part=problem]", has_text="save it as JPEG, PNG or WebP").wait_for()
    assert page.shown()[0] == "butterfly"
    assert page.counts()[0] == "137 of 196 tokens"
    page.raw.evaluate(SET_SLIDER, "0.50")
    page.wait_for_ratio("0.50")
    assert page.raw.locator("[data-part=problem]").is_hidden()


def test_broken_file_is_told_in_chinese_on_the_chinese_page(open_page: Any, tmp_path: Path) -> None:
    page = open_page(query="?__theme=light&lang=zh")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"this is no image")
    page.upload(broken)
    page.raw.locator("[data-part=problem]", has_text="请另存为 JPEG、PNG 或 WebP。").wait_for()
    # The browser finds the same sentences as the server, in the blanks of others too.
    for text in ("a.zip is not known", "The image a\nb.png cannot be opened: HTTP 404.", "keep mass"):
        assert page.raw.evaluate("(text) => dynamicvit.sentence(text)", text) == words_in("zh").sentence(text)


def test_example_can_be_chosen(page: Page) -> None:
    page.raw.get_by_role("button", name="Example: Espresso").click()
    page.wait_for_other_image("butterfly")
    assert page.shown()[0] == "espresso"


def test_last_of_several_quick_choices_counts(page: Page) -> None:
    for title in ("Espresso", "Corgis", "Hummingbird"):
        page.raw.get_by_role("button", name=f"Example: {title}").click()
    page.raw.wait_for_function("document.querySelector('[data-part=root]').dataset.shown.startsWith('hummingbird ')")


def test_model_that_is_not_here_is_offered_for_download_and_not_fetched(page: Page) -> None:
    page.raw.get_by_role("combobox", name="Model").click()
    page.raw.get_by_role("option", name="DynamicViT-DeiT-S/0.7 (to download)").click()
    page.raw.get_by_role("button", name="Download").wait_for()
    note = page.raw.locator("#model-note").inner_text()
    assert "Not on this machine yet" in note
    assert "Still showing DynamicViT-Lite0-S." in note
    assert page.counts()[0] == "137 of 196 tokens"


def test_agreement_is_shown_by_sign_and_words(page: Page) -> None:
    signs = set()
    for ratio in ("1.00", "0.10"):
        page.raw.evaluate(SET_SLIDER, ratio)
        page.wait_for_ratio(ratio)
        first = [page.raw.locator(f"[data-part={model}] .name").first.inner_text() for model in ("dense", "pruned")]
        agrees = first[0] == first[1]
        assert page.text("sign") == ("✓" if agrees else "≠")
        assert page.text("verdict").startswith("Same answer" if agrees else "Different answers")
        signs.add(agrees)
    assert signs == {True, False}


def test_dropped_patches_fade_into_the_page_in_both_themes(open_page: Any) -> None:
    for query, is_darker in (("?__theme=light", False), ("?__theme=dark", True)):
        page = open_page(query=query)
        page.raw.evaluate(SET_SLIDER, "0.10")
        page.wait_for_ratio("0.10")
        # At 0.10 one patch is left in the last stage: of four places in the sky at least three are dropped.
        places = [(0.46, 0.03), (0.96, 0.4), (0.82, 0.6), (0.96, 0.82)]
        before, after = (sum(sum(page.pixel(view, *place)) for place in places) for view in (0, 3))
        assert (after < before) == is_darker


def test_main_story_fits_one_screen(page: Page) -> None:
    page.raw.wait_for_timeout(300)
    height, width = page.raw.evaluate("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]")
    assert height <= 900
    assert width <= 1440
    story = page.raw.locator(".explore").bounding_box()
    assert story["y"] + story["height"] < 880


@pytest.mark.parametrize("language", ["en", "zh"])
def test_main_story_fits_a_projector_without_scrolling(open_page: Any, language: str) -> None:
    raw = open_page(1280, 720, f"?__theme=light&lang={language}").raw
    raw.wait_for_function("/[0-9]/.test(document.querySelector('[data-part=time-saved]').textContent)")
    for place in (".headline", ".views", ".predictions", "[data-part=time-row]", ".look"):
        box = raw.locator(f".explorer {place}").bounding_box()
        assert box["y"] + box["height"] <= 720, place


def test_chinese_page_names_classes_in_chinese(open_page: Any) -> None:
    page = open_page(query="?__theme=light&lang=zh")
    names = page.raw.locator("[data-part=dense] .name")
    names.filter(has_text=re.compile(r"[\u4e00-\u9fff]")).nth(4).wait_for()
    first = names.first.inner_text()
    assert first in page.text("headline")
    page.raw.get_by_role("tab", name="比较").click()
    page.raw.locator(f"#compare .card[data-method=none] .answer:text-is('{first}')").wait_for()


def test_views_describe_what_they_show(page: Page) -> None:
    page.raw.evaluate(SET_SLIDER, "0.50")
    page.wait_for_ratio("0.50")
    labels = [
        page.raw.get_by_role("button", name=f"Stage {stage} keeps").get_attribute("aria-label") for stage in (1, 2, 3)
    ]
    assert [label.split(" of ")[0] for label in labels] == [
        "Stage 1 keeps 98",
        "Stage 2 keeps 49",
        "Stage 3 keeps 24",
    ]
    page.raw.locator("[role=status]", has_text="keep 98, 49 and 24 of 196 tokens").wait_for()
