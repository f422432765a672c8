"""The token explorer in a real browser: views, patches, layers and the settings of the stages."""

from __future__ import annotations

import re
from typing import Any

from browsing import PATIENCE_MS, SET_SLIDER, Page, needs_browser

pytestmark = needs_browser

GRID = 14
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
ALL_PAINTED = "[...document.querySelectorAll('[data-part=canvas], [data-part=large]')].map((c) => c.toDataURL())"


def place_of(patch: int) -> dict[str, float]:
    """Give the middle of a patch as shares of the image's side."""
    return {"x": (patch % GRID + 0.5) / GRID, "y": (patch // GRID + 0.5) / GRID}


def large(page: Page) -> Any:
    return page.raw.locator("[data-part=large]")


def point_at(page: Page, patch: int, *, click: bool = False) -> None:
    box, place = large(page).bounding_box(), place_of(patch)
    x, y = box["x"] + place["x"] * box["width"], box["y"] + place["y"] * box["height"]
    page.raw.mouse.move(x, y)
    if click:
        page.raw.mouse.click(x, y)


def status(page: Page) -> str:
    return page.raw.locator("[data-part=patch-status]").text_content()


def row(page: Page, name: str) -> list[str]:
    return page.raw.locator(f"[data-part={name}] > :not(:first-child)").all_inner_texts()


def published(page: Page) -> dict[str, Any]:
    return page.raw.evaluate("dynamicvit.scene")


def is_marked(page: Page, view: int, patch: int) -> bool:
    """Whether the frame of the patch is on a small view: white on its left border."""
    place = place_of(patch)
    return min(page.pixel(view, place["x"] - 0.5 / GRID, place["y"])) > 240


def open_stages(page: Page) -> None:
    page.raw.get_by_role("button", name="Stages").press("Enter")


def stage_slider(page: Page, stage: int) -> Any:
    return page.raw.locator("[data-part=stage-ratio]").nth(stage - 1)


def stage_values(page: Page) -> list[str]:
    return page.raw.locator("[data-part=stage-value]").all_inner_texts()


def test_small_view_chosen_by_mouse_or_key_is_shown_large(page: Page) -> None:
    assert page.text("large-name") == "Stage 3"
    for stage, count, key in ((1, 137, "click"), (2, 96, "Enter")):
        button = page.raw.get_by_role("button", name=f"Stage {stage} keeps {count}")
        button.click() if key == "click" else button.press(key)
        assert (page.text("large-name"), page.text("large-count")) == (f"Stage {stage}", f"{count} of 196 tokens")
        assert button.get_attribute("aria-pressed") == "true"
        assert page.raw.locator("[data-part=choose][aria-pressed=true]").count() == 1
        assert published(page)["stage"] == stage
    page.raw.get_by_role("button", name="as the model sees it").press("Enter")
    assert (page.text("large-name"), published(page)["stage"]) == ("Input", 0)


def test_pointing_at_a_patch_tells_its_fate_and_asks_nothing(page: Page) -> None:
    page.raw.wait_for_function("document.querySelector('[data-part=time-note]').textContent.includes('Median of')")
    page.raw.evaluate("window.questions = 0")
    fates = set()
    for patch in range(0, GRID * GRID, 5):
        point_at(page, patch)
        ranks, places = row(page, "patch-ranks"), row(page, "patch-places")
        live = [rank.split(" of ") for rank in ranks if rank != DASH]
        assert [int(count) for _, count in live] == [196, 137, 96][: len(live)]
        stays = [int(rank) <= kept for (rank, _), kept in zip(live, (137, 96, 67), strict=False)]
        assert [place[0] for place in places if place != DASH] == ["+" if stay else MINUS for stay in stays]
        assert all(stays[:-1])
        assert page.raw.locator(".strip-mark").count() == len(stays)  # where it stands among all scores
        end = "kept to the end" if stays == [True] * 3 else f"dropped at stage {len(stays)}"
        assert page.text("patch-end") == end
        assert status(page).startswith(f"Patch in row {patch // GRID + 1}, column {patch % GRID + 1}: {end}. Stage 1: ")
        fates.add(end)
    assert len(fates) == 4
    assert page.raw.evaluate("window.questions") == 0


def test_same_patch_is_marked_in_every_view(page: Page) -> None:
    before = page.raw.evaluate(ALL_PAINTED)
    point_at(page, 90)
    assert all(is_marked(page, view, 90) for view in range(4))
    page.raw.mouse.move(5, 5)
    assert page.raw.evaluate(ALL_PAINTED) == before
    assert page.text("patch-place").startswith("Point at a patch")


def test_kept_patches_that_are_most_alike_are_shown_and_framed(page: Page) -> None:
    tiles = page.raw.locator("[data-part=patch-tiles] canvas")
    border = """(patch) => {
      const canvas = document.querySelector("[data-part=large]"), cell = canvas.width / 14;
      const [x, y] = [Math.round((patch % 14) * cell), Math.round(Math.floor(patch / 14) * cell)];
      return [...canvas.getContext("2d").getImageData(x, y, 1, cell).data].join();
    }"""
    before = [page.raw.evaluate(border, patch) for patch in range(GRID * GRID)]
    point_at(page, 90)
    dropped_at = int(page.text("patch-end")[-1]) if "dropped" in page.text("patch-end") else 3
    rows_and_columns = [re.findall(r"\d+", tile.get_attribute("title")) for tile in tiles.all()]
    alike = [(int(row) - 1) * GRID + int(column) - 1 for row, column in rows_and_columns]
    assert len(set(alike) - {90}) == 3
    assert all(page.raw.evaluate(border, patch) != before[patch] for patch in alike)
    for patch in alike:
        point_at(page, patch)
        assert row(page, "patch-ranks")[dropped_at - 1] != DASH
        assert row(page, "patch-places")[dropped_at - 1][0] != MINUS
    page.raw.mouse.move(5, 5)
    assert (tiles.count(), page.text("patch-alike")) == (0, "")


def test_words_say_what_they_mean_by_pointer_and_by_key(page: Page) -> None:
    bubble = page.raw.locator("#hint-bubble")
    for word, meaning in {"Pruned": "drops what the stages drop", "From the cut": "halfway between"}.items():
        term = page.raw.locator(".explorer").get_by_role("button", name=word, exact=True)
        term.hover()
        bubble.filter(has_text=meaning).wait_for()
        page.raw.keyboard.press("Escape")
        bubble.wait_for(state="hidden")
        term.focus()
        bubble.filter(has_text=meaning).wait_for()
    page.raw.get_by_role("tab", name="Compare").click()
    page.raw.get_by_role("button", name="EViT's score, not trained here").hover()
    bubble.filter(has_text="Liang et al., 2022").wait_for()


def test_click_pins_a_patch_until_the_second_click_or_escape(page: Page) -> None:
    point_at(page, 47, click=True)
    point_at(page, 100)
    assert "row 4, column 6" in page.text("patch-place")
    assert page.raw.locator("[data-part=patch-pinned]").is_visible()
    assert published(page)["patch"] == 47
    page.raw.evaluate(SET_SLIDER, "0.50")
    page.wait_for_ratio("0.50")
    assert published(page)["patch"] == 47
    point_at(page, 47, click=True)
    assert published(page)["patch"] is None
    assert page.raw.locator("[data-part=patch-pinned]").is_hidden()
    point_at(page, 100, click=True)
    page.raw.keyboard.press("Escape")
    assert published(page)["patch"] is None


def test_keys_walk_over_the_patches_and_pin_one(page: Page) -> None:
    page.raw.locator("[data-part=large-name]").focus()
    page.raw.keyboard.press("Shift+Tab")
    assert page.text("patch-place") == "Patch in row 8, column 8"
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft", "Enter"):
        page.raw.keyboard.press(key)
    assert page.text("patch-place") == "Patch in row 7, column 6"
    assert status(page).count("Pinned.") == 1
    assert published(page)["patch"] == 6 * GRID + 5
    for _ in range(GRID):
        page.raw.keyboard.press("ArrowDown")
    assert page.text("patch-place") == "Patch in row 14, column 6"
    page.raw.keyboard.press("Escape")
    assert published(page)["patch"] is None
    page.raw.keyboard.press("Tab")
    assert page.text("patch-place").startswith("Point at a patch")


def test_tap_pins_a_patch_as_the_page_says(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.set_default_timeout(PATIENCE_MS)
    page = Page(context.new_page())
    page.raw.goto(address)
    page.raw.locator("[data-part=root][data-painted]").wait_for()
    side = large(page).bounding_box()["width"]
    place = place_of(75)
    assert page.text("patch-place") == "Tap a patch to follow it."
    large(page).tap(position={"x": place["x"] * side, "y": place["y"] * side})
    assert (page.text("patch-place"), published(page)["patch"]) == ("Patch in row 6, column 6", 75)
    context.close()


def test_white_layer_is_the_authors_look(page: Page) -> None:
    dropped = page.raw.evaluate(SET_SLIDER, "0.10") or [(0.46, 0.04), (0.96, 0.4), (0.82, 0.6), (0.96, 0.82)]
    page.wait_for_ratio("0.10")
    page.raw.get_by_role("checkbox", name="Outline").uncheck()
    page.raw.get_by_role("radio", name="Faded").focus()
    page.raw.keyboard.press("ArrowRight")
    matches = 0
    for place in dropped:
        authors = [0.2 * value + 0.8 * 255 for value in page.pixel(0, *place)]
        matches += all(abs(a - b) < 3 for a, b in zip(authors, page.pixel(3, *place), strict=True))
    assert matches >= 3  # one patch is left


def test_layers_are_switched_by_mouse_and_say_what_colours_mean(page: Page) -> None:
    pictures = {page.raw.evaluate(ALL_PAINTED)[3]}
    legend = page.raw.locator("[data-part=legend]")
    assert legend.is_hidden()
    page.raw.get_by_text("Scores", exact=True).click()
    pictures.add(page.raw.evaluate(ALL_PAINTED)[3])
    low, high = float(page.text("legend-low")), float(page.text("legend-high"))
    assert 0 < low <= high < 1  # the predictors of this model are all near 0.5
    assert low <= float(page.raw.locator("[data-part=legend-cut]").get_attribute("title").split()[-1]) <= high
    page.raw.get_by_role("checkbox", name="Outline").uncheck()
    pictures.add(page.raw.evaluate(ALL_PAINTED)[3])
    page.raw.get_by_role("checkbox", name="Grid").check()
    pictures.add(page.raw.evaluate(ALL_PAINTED)[3])
    assert len(pictures) == 4
    page.raw.get_by_role("button", name="as the model sees it").click()
    assert legend.is_hidden()


def test_stage_sliders_push_each_other_and_the_base_ratio_sets_them(page: Page) -> None:
    open_stages(page)
    assert stage_values(page) == ["0.70", "0.49", "0.34"]
    stage_slider(page, 2).press("End")
    page.wait_for_ratio("1.00,1.00,0.34")
    assert page.counts() == ["196 of 196 tokens", "196 of 196 tokens", "66 of 196 tokens"]
    assert row(page, "stage-sliders") == ["Stage 2\n1.00\n196 of 196 tokens", "Stage 3\n0.34\n66 of 196 tokens"]
    box = stage_slider(page, 1).bounding_box()
    page.raw.mouse.click(box["x"] + 1, box["y"] + box["height"] / 2)
    page.raw.wait_for_function("dynamicvit.scene.settings.keep_ratio[0] < 0.1")
    assert len(set(stage_values(page))) == 1
    assert page.raw.get_by_role("radio", name="A ratio for each stage").is_checked()
    page.raw.locator("[data-part=slider]").press("ArrowLeft")
    page.wait_for_ratio("0.69")
    assert stage_values(page) == ["0.69", "0.48", "0.33"]
    assert page.raw.get_by_role("radio", name="One base ratio").is_checked()


def test_adaptive_mode_shows_how_many_tokens_each_stage_keeps(page: Page) -> None:
    open_stages(page)
    page.raw.get_by_role("radio", name="Adaptive").check()
    page.wait_for_ratio("mass:0.70")
    assert published(page)["settings"] == {"keep_mass": 0.7}
    counts = [int(count.split()[0]) for count in page.counts()]
    assert sorted(counts, reverse=True) == counts
    assert page.raw.locator("[data-part=stage-count]").all_inner_texts() == page.counts()
    assert "70" in page.text("note")
    page.raw.locator("[data-part=mass]").press("End")
    page.wait_for_ratio("mass:1.00")
    assert page.counts() == ["196 of 196 tokens"] * 3
    page.raw.wait_for_function("document.querySelector('[data-part=time-note]').textContent.includes('Median of')")


def test_jump_restores_what_was_published(page: Page) -> None:
    state = {"settings": {"keep_ratio": [0.6, 0.5, 0.2]}, "stage": 2, "patch": 33}
    jump = "({settings, stage, patch}) => dynamicvit.jump({...settings, stage, patch})"
    page.raw.evaluate(jump, state)
    page.wait_for_ratio("0.60,0.50,0.20")
    assert {key: published(page)[key] for key in state} == state
    assert (page.text("large-name"), page.text("patch-place")) == ("Stage 2", "Patch in row 3, column 6")
    page.raw.evaluate(jump, {"settings": {"keep_ratio": 0.5}, "stage": 99, "patch": 5000})
    page.wait_for_ratio("0.50")
    assert (published(page)["stage"], published(page)["patch"]) == (3, None)


def test_loss_does_not_look_like_a_saving(page: Page) -> None:
    saved = page.raw.locator("[data-part=macs-saved]")
    colours = [saved.evaluate("(cell) => getComputedStyle(cell).color")]
    page.raw.evaluate(SET_SLIDER, "1.00")
    page.wait_for_ratio("1.00")
    assert saved.inner_text().startswith(MINUS)
    colours.append(saved.evaluate("(cell) => getComputedStyle(cell).color"))
    assert len(set(colours)) == 2


def test_new_language_renames_the_patch(page: Page) -> None:
    point_at(page, 47, click=True)
    page.raw.evaluate("dynamicvit.setLanguage('zh')")
    page.raw.wait_for_function("document.querySelector('[data-part=patch-place]').textContent.includes('第 4 行')")
    page.raw.wait_for_function("document.querySelector('[data-part=patch-ranks]').textContent.includes(' / 196')")


WAITS = "document.querySelector('[data-part=root]').classList.contains('is-waiting')"


def test_an_answer_that_is_held_back_leaves_the_old_one_dimmed(page: Page) -> None:
    page.raw.evaluate("hold()")
    page.raw.evaluate(SET_SLIDER, 0.37)
    page.raw.wait_for_function(WAITS)
    assert page.raw.locator("[data-part=root]").get_attribute("aria-busy") == "true"
    page.raw.wait_for_function("Number(getComputedStyle(document.querySelector('.headline')).opacity) < 0.5")
    page.raw.wait_for_function("document.querySelector('[data-part=waiting-note]').textContent.includes('Computing')")
    page.raw.evaluate("letGo()")
    page.raw.wait_for_function(f"!({WAITS})")
    assert page.raw.locator("[data-part=root]").get_attribute("aria-busy") is None
    assert page.text("waiting-note") == ""
    assert page.text("headline").startswith("Dropped 187 of 196 patches")


def test_a_quick_answer_dims_nothing(page: Page) -> None:
    page.raw.evaluate(SET_SLIDER, 0.44)
    page.raw.evaluate(SET_SLIDER, 0.70)  # known: shown at once
    assert not page.raw.evaluate(WAITS)


def test_a_new_picture_is_the_input_before_its_answer_comes(page: Page) -> None:
    before = page.raw.evaluate("document.querySelector('[data-part=canvas]').toDataURL()")
    shown = page.raw.evaluate("document.querySelector('[data-part=root]').dataset.shown")
    page.raw.evaluate("hold()")
    page.raw.get_by_role("button", name="Example: Cat").click()
    page.raw.wait_for_function("(old) => document.querySelector('[data-part=canvas]').toDataURL() !== old", arg=before)
    assert page.raw.evaluate("document.querySelector('[data-part=root]').dataset.shown") == shown
    page.raw.evaluate("letGo()")
    page.raw.wait_for_function("(old) => document.querySelector('[data-part=root]').dataset.shown !== old", arg=shown)


def test_the_headline_says_what_was_dropped_answered_and_saved(page: Page) -> None:
    page.raw.wait_for_function("/(less|more) time/.test(document.querySelector('[data-part=headline]').textContent)")
    headline = page.text("headline")
    assert headline.startswith("Dropped 129 of 196 patches, ")
    assert re.search(r"says “.+”.*: \d+\s% less arithmetic and \d+\s% (less|more) time\.$", headline)


def test_play_goes_from_the_input_through_the_stages_once(page: Page) -> None:
    page.raw.evaluate("""() => {
      const name = document.querySelector("[data-part=large-name]");
      window.names = [];
      new MutationObserver(() => window.names.push(name.textContent)).observe(name, { childList: true });
    }""")
    page.raw.get_by_role("button", name="Play").click()
    assert page.raw.get_by_role("button", name="Stop").is_visible()
    page.raw.get_by_role("button", name="Play").wait_for()
    assert page.raw.evaluate("window.names") == ["Input", "Stage 1", "Stage 2", "Stage 3"]


def test_a_sentence_says_why_a_patch_was_dropped(page: Page) -> None:
    page.raw.wait_for_function("document.querySelector('[data-part=time-note]').textContent.includes('Median of')")
    sentences, heights = set(), set()
    for patch in range(0, GRID * GRID, 9):
        point_at(page, patch)
        heights.add(page.raw.evaluate("document.documentElement.scrollHeight"))
        why, end = page.text("patch-why"), page.text("patch-end")
        if end == "kept to the end":
            assert re.fullmatch(r"Stays: at Stage 3 score 0\.\d+, ranked \d+ of 96; 67 stay\.", why)
        else:
            stage = end.rsplit(" ", 1)[1]
            live, kept = {"1": (196, 137), "2": (137, 96), "3": (96, 67)}[stage]
            pattern = rf"Dropped at stage {stage}: score 0\.\d+, ranked (\d+) of {live}; {kept} stay\."
            assert int(re.fullmatch(pattern, why)[1]) > kept
        sentences.add(why)
    assert len(sentences) > 3
    assert len(heights) == 1  # nothing moves from patch to patch


def test_the_tour_tells_six_steps_and_gives_back_what_was_shown(open_page: Any) -> None:
    page = open_page(query="?__theme=light&tour=2")
    page.raw.get_by_role("button", name="Leave the tour").wait_for()
    assert (page.text("tour-step"), page.text("large-name")) == ("2 of 6", "Stage 1")
    assert page.raw.get_by_role("radio", name="Scores").is_checked()
    page.raw.get_by_role("button", name="Back").click()
    assert "14 \N{MULTIPLICATION SIGN} 14 patches" in page.text("tour-text")
    told = []
    for _ in range(4):
        page.raw.get_by_role("button", name="Next").click()
        told.append((page.text("large-name"), page.text("tour-text")))
    assert [name for name, _ in told] == ["Stage 1", "Stage 1", "Stage 3", "Stage 3"]
    assert "The 137 best tokens go on, after block 3 of 12. The other 59 are dropped" in told[1][1]
    assert "67 of 196 tokens are left" in told[2][1]
    assert "less arithmetic" in told[3][1]
    page.raw.get_by_role("button", name="Next").press("Enter")
    page.raw.wait_for_function("/break/.test(document.querySelector('[data-part=tour-text]').textContent)")
    different = "document.querySelector('[data-part=agreement]').classList.contains('is-different')"
    page.raw.wait_for_function(f"{different} || document.querySelector('[data-part=slider]').value === '0.1'")
    page.raw.wait_for_function("location.search.includes('tour=6')")
    page.raw.get_by_role("button", name="Leave the tour").press("Enter")
    page.wait_for_ratio("0.70")
    assert page.raw.get_by_role("radio", name="Faded").is_checked()
    assert (published(page)["stage"], published(page)["tour"]) == (3, None)


def test_presenting_shows_the_explorer_alone_until_escape(page: Page) -> None:
    small = large(page).bounding_box()["width"]
    page.raw.keyboard.press("p")
    for hidden in ("#choices", "#head", "[data-part=readout]", ".results"):
        assert page.raw.locator(hidden).is_hidden()
    assert re.fullmatch(r"\d+\s% less arithmetic", page.raw.locator(".number").inner_text().replace("\n", " "))
    assert large(page).bounding_box()["width"] > 1.4 * small
    assert page.raw.evaluate("document.documentElement.scrollHeight <= innerHeight")
    page.raw.keyboard.press("Escape")
    assert page.raw.locator("#choices").is_visible()
    page.raw.locator("[data-part=slider]").press("p")
    assert page.raw.locator("#choices").is_hidden()
