"""The page: components, their arrangement, and which event calls what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from dynamicvit.checkpoints.available import AvailableModel
from dynamicvit.interface.api import offer_api
from dynamicvit.interface.example_row.component import example_row
from dynamicvit.interface.explorer.component import token_explorer
from dynamicvit.interface.handlers import Payload, Workbench

TITLE = "DynamicViT in the browser"
HEAD = f"""<header><h1>{TITLE}</h1>
<p>A vision transformer that drops image tokens on the way. Move the keep ratio to see which, and what it saves.</p>
</header>"""

Shown = dict[str, str]  # keys of the image and of the model that a visitor's page shows; empty before the first scene


def launch_options() -> dict[str, Any]:
    """Give the arguments of ``launch()`` that belong to this page: nothing on it comes from another host."""
    here = Path(__file__).parent
    return {
        "theme": gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "css_paths": [here / "page.css"],
        "js": (here / "page.js").read_text(encoding="utf-8"),
        "footer_links": ["api"],
        "max_file_size": "50mb",
        "share": False,
        "ssr_mode": False,
    }


def build(bench: Workbench) -> gr.Blocks:
    """Arrange the page and connect its events; the models and pictures behind it are the workbench's."""
    scene = bench.first_scene()
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(HEAD, elem_id="head")
        with gr.Row(elem_id="page"):
            with gr.Column(elem_id="choices"):
                picture = gr.Image(
                    bench.preview(scene["image"]) if "image" in scene else None,
                    label="Picture",
                    sources=["upload", "webcam", "clipboard"],
                    format="jpeg",
                    height=214,
                    buttons=[],
                    elem_id="picture",
                    alt_text="The whole picture",
                    placeholder="Drop a picture here or click to choose one. The last result stays until then.",
                )
                examples = example_row(bench.thumbnails())
                model = gr.Dropdown(elem_id="model", label="Model", **_model_list(bench.entries(), scene.get("model")))
                note = gr.Markdown(elem_id="model-note")
                fetch = gr.Button("Download", visible=False, elem_id="fetch", variant="primary")
            with gr.Column(elem_id="story"):
                explorer = token_explorer(scene, analyse=bench.analyse, measure=bench.measure, elem_id="explorer")
        parts = _Parts(picture, examples, model, note, fetch, explorer, gr.State(_shown_after(scene, {})))
        _connect(page, parts, _Events(bench))
        offer_api(bench)
    page.queue(default_concurrency_limit=4)
    return page


@dataclass(frozen=True, eq=False)
class _Parts:
    """The components that events read and write."""

    picture: gr.Image
    examples: gr.HTML
    model: gr.Dropdown
    note: gr.Markdown
    fetch: gr.Button
    explorer: gr.HTML
    shown: gr.State


def _connect(page: gr.Blocks, parts: _Parts, events: _Events) -> None:
    scene = [parts.explorer, parts.shown]
    choice = [parts.model, parts.note, parts.fetch]
    # always_last: of several quick choices the last one counts; Gradio's default drops it while the first is under way.
    plumbing: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "trigger_mode": "always_last",
    }
    # preprocess=False: the file as it is. Gradio would convert or clip what is not 8-bit RGB, and its errors do not say
    # what to do; our decoder reads it instead. Gradio still checks that the path is that of an upload.
    # upload, not input: that fires for a removed picture too, before its value is gone.
    parts.picture.upload(
        events.add_picture,
        [parts.picture, parts.shown],
        [*scene, parts.picture],
        preprocess=False,
        **plumbing,
    )
    # multiple, one after the other: always_last would call again with the name of the first choice.
    in_order = plumbing | {"trigger_mode": "multiple", "concurrency_limit": 1}
    parts.examples.choose(events.choose_example, parts.shown, [*scene, parts.picture], **in_order)
    # select, not input: that fires whenever the list loses the focus, too.
    parts.model.select(events.choose_model, [parts.model, parts.shown], [*scene, *choice], **plumbing)
    parts.fetch.click(
        events.download,
        [parts.model, parts.shown],
        [*scene, *choice],
        api_visibility="private",
        show_progress_on=parts.note,
    )
    page.load(events.open_page, parts.shown, [*scene, *choice], **plumbing)


class _Events:
    """What the events do: each asks the workbench and gives the new values of its outputs."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def open_page(self, shown: Shown) -> list[Any]:
        """List the models that are here now; start, if nothing could be shown when the app was built."""
        scene = None if shown else self._bench.first_scene()
        values = _scene_values(scene, shown)
        return [*values, *self._choice_values(values[1].get("model"))]

    def add_picture(self, upload: Payload | None, shown: Shown) -> list[Any]:
        """Show an uploaded picture, given as Gradio's description of the file."""
        scene = self._bench.open_file(upload and upload["path"], shown.get("model"))
        return [*_scene_values(scene, shown), self._whole_picture(scene)]

    def choose_example(self, shown: Shown, event: gr.EventData) -> list[Any]:
        """Show an example."""
        scene = self._bench.open_example(str(event.name), shown.get("model"))
        whole = gr.skip() if "problem" in scene else self._bench.preview(scene["image"])
        return [*_scene_values(scene, shown), whole]

    def choose_model(self, key: str, shown: Shown) -> list[Any]:
        """Show the same picture with another model, or offer to download that."""
        is_here = any(entry.key == key and entry.is_local for entry in self._bench.entries())
        scene = self._scene_with(key, shown) if is_here else self._bench.no_problem()
        return [*_scene_values(scene, shown), *self._choice_values(key)]

    def download(self, key: str, shown: Shown, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        """Fetch a published model and show the picture with it."""

        def report(done: int, total: int | None) -> None:
            progress((done // 10**6, total and total // 10**6), desc="Downloading", unit="MB")

        scene = self._bench.fetch(key, report) or self._scene_with(key, shown)
        return [*_scene_values(scene, shown), *self._choice_values(key)]

    def _scene_with(self, key: str, shown: Shown) -> Payload:
        if "image" in shown:
            return self._bench.change_model(shown["image"], key)
        return self._bench.first_scene()

    def _whole_picture(self, scene: Payload) -> Any:
        """Give what the upload control shows after an upload: nothing for a file that could not be used."""
        if "problem" in scene:
            return None
        return gr.skip() if scene["is_shown_by_browsers"] else self._bench.preview(scene["image"])

    def _choice_values(self, key: str | None) -> list[Any]:
        entries = self._bench.entries()
        chosen = next((entry for entry in entries if entry.key == key), None)
        note = " ".join(filter(None, [_model_note(chosen), self._bench.unusable_files()]))
        can_fetch = chosen is not None and not chosen.is_local
        return [gr.Dropdown(**_model_list(entries, key)), note, gr.Button(visible=can_fetch)]


def _scene_values(scene: Payload | None, shown: Shown) -> list[Any]:
    """Give the values of the explorer and of what the page shows; None leaves both as they are."""
    return [gr.skip() if scene is None else scene, _shown_after(scene or {}, shown)]


def _shown_after(scene: Payload, shown: Shown) -> Shown:
    return {"image": scene["image"], "model": scene["model"]} if "image" in scene else shown


def _model_list(entries: list[AvailableModel], key: str | None) -> dict[str, Any]:
    choices = [(entry.title if entry.is_local else f"{entry.title} (to download)", entry.key) for entry in entries]
    return {"choices": choices, "value": key}


def _model_note(entry: AvailableModel | None) -> str:
    """Say where a model comes from and how good its authors found it."""
    if entry is None or entry.published is None:
        return ""
    accuracy = f"{entry.published.top1_percent:.1f} % top-1 on ImageNet, as its authors report."
    if entry.is_local:
        return accuracy
    hosts = " or ".join(urlsplit(url).hostname or url for url in entry.published.urls)
    return f"{accuracy} Not on this machine yet: Download fetches it from {hosts} ({entry.published.licence} licence)."
