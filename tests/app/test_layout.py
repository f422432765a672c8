"""The page as a service, and what it says about models, without a browser."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from conftest import EXAMPLES
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from dynamicvit.app.api import analyze_bytes
from dynamicvit.app.layout import MAX_SESSIONS, build, launch_options
from dynamicvit.app.state import AppState

# Gradio and its client use what their own dependencies call deprecated; as errors these would end its threads.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def page(state: AppState) -> Iterator[gr.Blocks]:
    page = build(state)
    page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield page
    page.close()


@pytest.fixture(scope="module")
def client(page: gr.Blocks) -> Client:
    return Client(page.local_url, verbose=False)


def test_sessions_of_visitors_who_left_do_not_fill_the_memory(page: gr.Blocks) -> None:
    sessions = page.app.state_holder
    before = sessions["one"]
    sessions.session_data.update(dict.fromkeys(range(MAX_SESSIONS - 1), before))
    assert sessions["another"]
    assert len(sessions.session_data) == MAX_SESSIONS
    assert "one" not in sessions
    sessions.session_data.clear()


def test_program_analyses_a_picture_file(client: Client, state: AppState) -> None:
    picture = EXAMPLES / "cat.jpg"
    answer = client.predict(handle_file(picture), 0.5, api_name="/analyze")
    assert [len(stage["kept_patches"]) for stage in answer["stages"]] == [98, 49, 24]
    assert answer == analyze_bytes(state, picture.read_bytes(), {"keep_ratio": 0.5}, None)


def test_program_is_told_what_is_wrong(client: Client, state: AppState) -> None:
    with pytest.raises(AppError, match=r"from 0\.10 to 1\.00"):
        client.predict(handle_file(EXAMPLES / "cat.jpg"), 1.5, api_name="/analyze")


def test_only_uploads_are_read(client: Client, state: AppState) -> None:
    on_the_server = {"path": str(EXAMPLES / "cat.jpg")}
    with pytest.raises(AppError, match="Upload the file first"):
        client.predict(on_the_server, 0.5, api_name="/analyze")


def test_what_is_public_is_described(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/analyze", "/compare", "/sweep", "/models"]
    assert [one["parameter_name"] for one in endpoints["/analyze"]["parameters"]] == [
        "picture",
        "keep_ratio",
        "model",
        "stage_ratios",
        "keep_mass",
        "selector",
    ]


def test_program_asks_for_stage_ratios_a_mass_or_another_selector(client: Client) -> None:
    ask = partial(client.predict, handle_file(EXAMPLES / "cat.jpg"), api_name="/analyze")
    stages = ask(stage_ratios=[0.9, 0.5, 0.3])
    assert [len(stage["kept_patches"]) for stage in stages["stages"]] == [176, 98, 58]
    assert ask(keep_mass=0.5)["keep_mass"] == 0.5
    assert ask(selector="grid")["stages"] != ask()["stages"]
    with pytest.raises(AppError, match="selector"):
        ask(selector="magic")


def test_program_compares_and_sweeps(client: Client) -> None:
    picture = handle_file(EXAMPLES / "cat.jpg")
    methods = client.predict(picture, 0.5, api_name="/compare")["methods"]
    assert methods["random"]["gmacs"] == pytest.approx(methods["predictor"]["gmacs"], rel=0.01)
    assert methods["none"]["agrees"]
    points = client.predict(picture, api_name="/sweep")["points"]
    assert [point["keep_ratio"] for point in points[:2]] == [1.0, 0.95]
    assert points[-1]["gmacs"] < points[0]["gmacs"]


def test_the_example_of_the_readme_runs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (EXAMPLES.parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "gradio_client" in block)
    monkeypatch.chdir(EXAMPLES.parents[1])
    names: dict[str, Any] = {}
    exec(example.replace("http://127.0.0.1:7860", client.src), names)
    assert len(names["answer"]["stages"]) == 3


def test_program_lists_the_models(client: Client, state: AppState) -> None:
    first = client.predict(api_name="/models")[0]
    assert (first["model"], first["is_here"], first["keep_ratios"]) == (state.first_model(), True, [0.7])


class Asker:
    """What a function that the browser calls wants to know of a request."""

    async def json(self) -> dict[str, str]:
        return {"session_hash": "visitor"}

    async def is_disconnected(self) -> bool:
        return False


HOSTILE = [None, True, -1, math.nan, 10**400, "", "x" * 10_000, "\0", [], [[]], {}, {"image": ["x"], "settings": 7}]


def test_no_argument_makes_a_function_that_the_browser_calls_fail(state: AppState) -> None:
    page = build(state)
    values = [value for block in page.blocks.values() for value in vars(block).values()]
    functions = [value for value in values if getattr(value, "_is_server_fn", False)]
    assert len(functions) >= 8

    async def ask_all() -> None:
        for function, value in itertools.product(functions, HOSTILE):
            for number in range(8):
                assert "problem" in await function([value] * number, Asker())
                assert isinstance(await function(["cat", state.first_model(), *[value] * number], Asker()), dict)
            assert "problem" in await function(value, Asker())

    asyncio.run(ask_all())


def test_building_leaves_no_files_in_the_source_tree(client: Client) -> None:
    assert not list((Path(__file__).parents[2] / "dynamicvit").rglob("*.pyi"))
