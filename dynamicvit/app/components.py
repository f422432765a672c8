"""The page's own components: their files in ``web/``, the functions that the browser calls, the small ones of all tabs.

A component is a ``gr.HTML``. The browser runs its script once, as a function of ``element``, ``props``, ``trigger``,
``watch`` and ``server``, when it is mounted.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import gradio as gr

from dynamicvit.app.turns import Turn, Turns
from dynamicvit.app.uploads import UploadError, check_files
from dynamicvit.app.words import LANGUAGES
from dynamicvit.errors import DynamicViTError

Payload = dict[str, Any]
Answer = Callable[..., Payload]

WEB = Path(__file__).parent / "web"


def component(
    name: str,
    value: Any = None,
    *,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    asked: Mapping[str, Answer] | None = None,
    turns: Turns | None = None,
    **options: Any,
) -> gr.HTML:
    """Return the component whose template, style and script are ``NAME.html``, ``NAME.css`` and ``NAME.js``.

    ``<!-- other.html -->`` in the template stands for what that file holds.

    Args:
        name: of its files.
        value: that it starts with.
        scripts, styles: files that stand before its own; all scripts share one scope.
        asked: functions that its script calls by these names, as ``server.NAME(...)``, past Gradio's queue and with
            whatever a client sends. They need two arguments or more: Gradio hands a single one over bare. Beside them
            the script gets ``server.place(NAME)``, the place in the queue of the visitor's question of that name.
        turns: the order in which they run.
        options: of ``gr.HTML``.
    """
    turns, asked = turns or Turns(), asked or {}
    functions = [_server_function(name, answer, turns) for name, answer in asked.items()]
    return gr.HTML(
        value,
        apply_default_css=False,
        html_template=re.sub(r"<!-- (\w+\.html) -->", lambda file: _read(file[1]), _read(f"{name}.html")),
        css_template="".join(map(_read, [*styles, f"{name}.css"])),
        js_on_load="\n".join(['"use strict";', *map(_read, ["shared.js", *scripts, f"{name}.js"])]),
        server_functions=[*functions, *([_place_function(asked, turns)] if asked else [])],
        **options,
    )


def tab_component(name: str, value: Any = None, *, scripts: Sequence[str] = (), **options: Any) -> gr.HTML:
    """Return the component of a tab, which shares more with the other tabs; its id is its name when not given."""
    options = {"elem_id": name} | options
    return component(name, value, scripts=["tab.js", *scripts], styles=["tab.css"], **options)


def user_errors(answer: Answer) -> Answer:
    """Return the function, made to answer ``{"problem": sentence}`` to what the visitor can mend."""

    @wraps(answer)
    def checked(*arguments: Any) -> Payload:
        try:
            return answer(*arguments)
        except DynamicViTError as error:
            return {"problem": str(error)}

    return checked


def _server_function(name: str, answer: Answer, turns: Turns) -> Callable[[object, gr.Request], Awaitable[Payload]]:
    """Return a function as Gradio's browser side calls it: with all arguments in one list."""

    signature = inspect.signature(answer)

    async def called(arguments: object, request: gr.Request) -> Payload:
        try:
            check_files(arguments)
            given = signature.bind(*arguments) if isinstance(arguments, list) else signature.bind()
        except UploadError as error:
            return {"problem": str(error)}
        except TypeError:
            return _misfit()
        turn = await turns.ask(await _visitor(request), name, partial(answer, *given.args), request.is_disconnected)
        if isinstance(turn, Turn):
            return {"busy": turns.waiting} if turn is Turn.BUSY else {"problem": f"Not answered: {turn.value}."}
        return turn

    called.__name__ = name
    return called


def _place_function(asked: Collection[str], turns: Turns) -> Callable[[object, gr.Request], Awaitable[Payload]]:
    """Return the function that says which place in the queue a visitor's question has, 0 when it does not wait."""

    async def place(name: object, request: gr.Request) -> Payload:
        try:
            check_files(name)
        except UploadError as error:
            return {"problem": str(error)}
        if not isinstance(name, str) or name not in asked:
            return _misfit()
        return {"place": turns.place(await _visitor(request), name)}

    return place


def _misfit() -> Payload:
    return {"problem": "This page and the app do not fit together; reload the page."}


async def _visitor(request: gr.Request) -> str:
    """Return who asks; nobody in particular where the request does not say, as that of a browser does."""
    try:
        return str((await request.json())["session_hash"])
    except (ValueError, TypeError, KeyError):
        return ""


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


# The small ones ------------------------------------------------------------------------------------------------------


def page_header() -> gr.HTML:
    """Return title and language switch; its event ``language`` carries the language of the page, at the start too."""
    return component("header", LANGUAGES, elem_id="head")


def example_row(thumbnails: list[Payload]) -> gr.HTML:
    """Return a row of example images; its event ``choose`` carries the name of the chosen one.

    Args:
        thumbnails: name, title and data URL of each.
    """
    return component("example_row", thumbnails)


def image_crop() -> gr.HTML:
    """Return the component that shows what the model sees of the image, and where it is chosen."""
    return component("crop", elem_id="crop")


def current_settings() -> gr.HTML:
    """Return the line that says what Explore is set to, an input of a tab's events.

    Its value is ``{model, settings, language, is_narrow}``: the model's key, settings as
    :func:`~dynamicvit.app.inputs.checked_budget` takes them, the language of the page, and whether its window is as
    narrow as a telephone's; model and settings are missing before Explore has shown anything. Its event ``language``
    follows the page's language.
    """
    return component("current_settings")


def progress_line(**options: Any) -> gr.HTML:
    """Return a line that says how far long work is, from :func:`progress`, :func:`finished` or :func:`problem`."""
    return component("progress_line", **options)


def progress(done: int, total: int, text: str) -> Payload:
    """Show a bar, and below it the text of a key, in the language of the page.

    Args:
        done, total: also what stands for the text's ``{done}`` and ``{total}``; a total of 0 shows a bar that only
            says that something happens.
        text: the key.
    """
    return {"done": done, "total": total, "text": text, "values": {"done": done, "total": total}, "problem": ""}


def finished(text: str, **values: object) -> Payload:
    """Take the bar away and leave the text of a key, with its ``{names}`` filled in."""
    return {"done": None, "total": None, "text": text, "values": values, "problem": ""}


def problem(sentence: str) -> Payload:
    """Take the bar away and say what went wrong."""
    return {"done": None, "total": None, "text": "", "values": {}, "problem": sentence}
