"""The page: components, their arrangement, and which event calls what."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from dynamicvit.app import explorer
from dynamicvit.app.api import offer_api
from dynamicvit.app.components import WEB, Payload, example_row, image_crop, page_header
from dynamicvit.app.links import Link, page_links, parse_link, requested, wanted
from dynamicvit.app.state import AppState, split_key
from dynamicvit.app.tabs import TABS
from dynamicvit.app.uploads import MAX_UPLOAD_BYTES, GuardedBlocks, UploadError, tell_no_room, uploaded_file
from dynamicvit.app.words import DEFAULT_LANGUAGE, LANGUAGES, Labels, Words, words_in
from dynamicvit.errors import DynamicViTError
from dynamicvit.weights.available import AvailableModel

MAX_SESSIONS = 1000  # that Gradio remembers; it keeps each until so many newer ones came
MAX_QUEUE = 40  # events of all visitors that wait; the functions that the browser calls have a queue of their own

Shown = dict[str, str]  # keys of the image and of the model that a visitor's page shows; empty before the first scene


def launch_options() -> dict[str, Any]:
    """Return the arguments of ``launch()`` that belong to this page: nothing on it comes from another host."""
    return {
        "theme": gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "css_paths": [WEB / "page.css"],
        "head": _head_scripts((WEB / "page.js").read_text(encoding="utf-8")),
        "footer_links": ["api"],
        "max_file_size": MAX_UPLOAD_BYTES,
        "state_session_capacity": MAX_SESSIONS,
        "app_kwargs": {"exception_handlers": {OSError: tell_no_room}},
        "share": False,
        "ssr_mode": False,
    }


def build(state: AppState) -> gr.Blocks:
    """Return the page, arranged and its events connected."""
    scene, labels = explorer.first_scene(state), Labels()
    words = words_in(DEFAULT_LANGUAGE)
    with GuardedBlocks(title=words("page.title"), analytics_enabled=False, fill_width=True) as page:
        header = page_header()
        links = page_links(list(state.examples), elem_id="links")
        with gr.Row(elem_id="page"):
            with gr.Column(elem_id="choices"):
                image = gr.Image(
                    explorer.preview(state, scene["image"]) if "image" in scene else None,
                    sources=["upload", "webcam", "clipboard"],
                    format="jpeg",
                    height=214,
                    buttons=[],
                    elem_id="picture",
                )
                labels.add(image, label="picture.label", alt_text="picture.alt", placeholder="picture.placeholder")
                examples = example_row(explorer.thumbnails(state))
                model = gr.Dropdown(elem_id="model", **_model_list(state.entries(), scene.get("model"), words))
                labels.add(model, label="model.label")
                note = gr.Markdown(elem_id="model-note")
                fetch = labels.add(gr.Button(visible=False, elem_id="fetch", variant="primary"), value="model.fetch")
                image_crop()
            with gr.Column(elem_id="story"), gr.Tabs(elem_id="tabs"):
                with labels.add(gr.Tab(elem_id="tab-explore"), label="tab.explore"):
                    views = explorer.token_explorer(state, scene)
                for name, fill in TABS.items():
                    with labels.add(gr.Tab(elem_id=f"tab-{name}"), label=f"tab.{name}"):
                        fill(state, labels)
        language = gr.State(DEFAULT_LANGUAGE)
        shown = gr.State(_shown_after(scene, {}))
        parts = _Parts(header, links, image, examples, model, note, fetch, views, shown, language)
        labels.apply(words)
        _connect(page, parts, labels, _Events(state, labels))
        offer_api(state)
    page.queue(default_concurrency_limit=4, max_size=MAX_QUEUE)
    return page


def _head_scripts(shared: str) -> str:
    """Return the scripts that run before any component: the words of all languages, then what the components share."""
    texts = _script_value({language: words_in(language).texts for language in LANGUAGES})
    classes = _script_value({language: words_in(language).classes for language in LANGUAGES})
    errors = _script_value({language: words_in(language).error_patterns for language in LANGUAGES})
    words = f"const dynamicvitTexts = {texts};const dynamicvitClasses = {classes};const dynamicvitErrors = {errors};"
    return f"<script>{words}</script><script>{shared}</script>"


def _script_value(value: object) -> str:
    """Return a value as JavaScript, in which no text can end the script."""
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


@dataclass(frozen=True, eq=False)
class _Parts:
    """The components that events read and write."""

    header: gr.HTML
    links: gr.HTML
    image: gr.Image
    examples: gr.HTML
    model: gr.Dropdown
    note: gr.Markdown
    fetch: gr.Button
    views: gr.HTML
    shown: gr.State
    language: gr.State


def _connect(page: gr.Blocks, parts: _Parts, labels: Labels, events: _Events) -> None:
    scene = [parts.views, parts.shown]
    choice = [parts.model, parts.note, parts.fetch]
    # always_last: of several quick choices the last one counts; Gradio's default drops it while the first is under way.
    private: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "trigger_mode": "always_last",
    }
    # preprocess=False: the file as it is. Gradio would convert or clip what is not 8-bit RGB, and its errors do not say
    # what to do; our decoder reads it instead.
    # upload, not input: that fires for a removed image too, before its value is gone.
    parts.image.upload(
        events.add_image,
        [parts.image, parts.shown],
        [*scene, parts.image],
        preprocess=False,
        **private,
    )
    # multiple, one after the other: always_last would call again with the name of the first choice.
    in_order = private | {"trigger_mode": "multiple", "concurrency_limit": 1}
    parts.examples.choose(events.choose_example, parts.shown, [*scene, parts.image], **in_order)
    # select, not input: that fires whenever the list loses the focus, too.
    known = [parts.shown, parts.language]
    parts.model.select(events.choose_model, [parts.model, *known], [*scene, *choice], **private)
    parts.fetch.click(
        events.download,
        [parts.model, *known],
        [*scene, *choice],
        api_visibility="private",
        show_progress_on=parts.note,
    )
    everything = [*scene, *choice, parts.image, parts.links]
    page.load(events.open_page, known, everything, **private)
    parts.links.open(events.open_request, known, everything, **private)
    parts.header.language(events.choose_language, parts.model, [parts.language, *choice, *labels.components], **private)


class _Events:
    """What the events do; each returns the new values of its outputs."""

    def __init__(self, state: AppState, labels: Labels) -> None:
        self._state = state
        self._labels = labels
        self._serials = itertools.count(1)

    def open_page(self, shown: Shown, language: str, request: gr.Request) -> list[Any]:
        """Show what the address asks for; start, if nothing could be shown when the app was built."""
        here = [entry.key for entry in self._state.entries() if entry.is_local]
        link = parse_link(dict(request.query_params), self._state.examples, here)
        scene = None if shown else explorer.first_scene(self._state, language)
        values = _scene_values(scene, shown)
        if link.is_empty or "image" not in values[1]:
            message = wanted(next(self._serials), None, None, Link(ignored=link.ignored))
            return [*values, *self._choice_values(values[1].get("model"), language), gr.skip(), message]
        image, model = link.example or values[1]["image"], link.model or values[1]["model"]
        return self._opened(image, model, link, shown, language)

    def open_request(self, shown: Shown, language: str, event: gr.EventData) -> list[Any]:
        """Show an image of this visit or an example again, as a saved analysis wants it."""
        link = requested(event.settings, event.stage, event.patch)
        return self._opened(str(event.image), str(event.model), link, shown, language)

    def _opened(self, image: str, model: str, link: Link, shown: Shown, language: str) -> list[Any]:
        # What is shown already is not sent again: the explorer would start anew with it.
        is_new = shown != {"image": image, "model": model}
        scene = explorer.change_model(self._state, image, model) if is_new else explorer.problem_scene("")
        values = _scene_values(scene, shown)
        is_shown = not scene.get("problem")
        if is_shown:
            config = self._state.load(model).model.config
            link = link.fitted(config.num_stages, (config.image_size // config.patch_size) ** 2)
        message = wanted(next(self._serials), image, model, link if is_shown else Link())
        is_other = is_shown and (not shown or split_key(shown["image"])[0] != split_key(image)[0])
        whole = explorer.preview(self._state, image) if is_other else gr.skip()
        return [*values, *self._choice_values(values[1].get("model"), language), whole, message]

    def add_image(self, sent: Payload | None, shown: Shown) -> list[Any]:
        """Show an uploaded image, given as Gradio's description of the file."""
        try:
            upload = None if sent is None else uploaded_file(sent)
        except UploadError as error:
            return [*_scene_values(explorer.problem_scene(str(error)), shown), None]
        scene = explorer.open_file(self._state, upload, shown.get("model"))
        if "problem" in scene:
            return [*_scene_values(scene, shown), None]
        whole = gr.skip() if scene["is_shown_by_browsers"] else explorer.preview(self._state, scene["image"])
        return [*_scene_values(scene, shown), whole]

    def choose_example(self, shown: Shown, event: gr.EventData) -> list[Any]:
        """Show an example."""
        scene = explorer.open_example(self._state, str(event.name), shown.get("model"))
        whole = gr.skip() if "problem" in scene else explorer.preview(self._state, scene["image"])
        return [*_scene_values(scene, shown), whole]

    def choose_model(self, key: str, shown: Shown, language: str) -> list[Any]:
        """Show the same image with another model, or offer to download that."""
        is_here = any(entry.key == key and entry.is_local for entry in self._state.entries())
        scene = self._scene_with(key, shown) if is_here else explorer.problem_scene("")
        return [*_scene_values(scene, shown), *self._choice_values(key, language, shown.get("model"))]

    def choose_language(self, key: str, event: gr.EventData) -> list[Any]:
        """Put what Gradio shows itself into another language."""
        language = str(event.language)
        updates = self._labels.updates(words_in(language))
        return [language, *self._choice_values(key, language), *updates]

    def download(
        self,
        key: str,
        shown: Shown,
        language: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Fetch a published model and show the image with it."""

        def report(done: int, total: int | None) -> None:
            progress((done // 10**6, total and total // 10**6), desc=words_in(language)("model.fetching"), unit="MB")

        try:
            explorer.fetch(self._state, key, report)
            scene = self._scene_with(key, shown)
        except DynamicViTError as error:
            scene = explorer.problem_scene(str(error))
        return [*_scene_values(scene, shown), *self._choice_values(key, language)]

    def _scene_with(self, key: str, shown: Shown) -> Payload:
        if "image" in shown:
            return explorer.change_model(self._state, shown["image"], key)
        return explorer.first_scene(self._state)

    def _choice_values(self, key: str | None, language: str, shown: str | None = None) -> list[Any]:
        words = words_in(language)
        entries = self._state.entries()
        chosen = next((entry for entry in entries if entry.key == key), None)
        can_fetch = chosen is not None and not chosen.is_local
        still = next((entry.title for entry in entries if can_fetch and entry.key == shown), None)
        unusable = map(words.sentence, self._state.unusable_files())
        notes = [_model_note(chosen, words), still and words("model.still", title=still), *unusable]
        note = " ".join(filter(None, notes))
        return [gr.Dropdown(**_model_list(entries, key, words)), note, gr.Button(visible=can_fetch)]


def _scene_values(scene: Payload | None, shown: Shown) -> list[Any]:
    """Return the values of the explorer and of what the page shows; None leaves both as they are."""
    return [gr.skip() if scene is None else scene, _shown_after(scene or {}, shown)]


def _shown_after(scene: Payload, shown: Shown) -> Shown:
    return {"image": scene["image"], "model": scene["model"]} if "image" in scene else shown


def _model_list(entries: list[AvailableModel], key: str | None, words: Words) -> dict[str, Any]:
    titles = [entry.title if entry.is_local else words("model.to_download", title=entry.title) for entry in entries]
    choices = list(zip(titles, [entry.key for entry in entries], strict=True))
    return {"choices": choices, "value": key}


def _model_note(entry: AvailableModel | None, words: Words) -> str:
    """Say where a model comes from and how good its authors found it."""
    if entry is None or entry.published is None:
        return ""
    accuracy = words("model.accuracy", percent=f"{entry.published.top1_percent:.1f}")
    if entry.is_local:
        return accuracy
    hosts = words.listed([urlsplit(url).hostname or url for url in entry.published.urls])
    return " ".join([accuracy, words("model.absent", hosts=hosts, licence=entry.published.licence)])
