"""The page as a service, and what it says about models, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from dynamicvit.interface.handlers import Workbench
from dynamicvit.interface.layout import build, launch_options
from dynamicvit.interface.uploads import Upload

# Gradio and its client use what their own dependencies call deprecated; as errors these would end its threads.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def client(bench: Workbench) -> Iterator[Client]:
    page = build(bench)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield Client(address, verbose=False)
    page.close()


def test_program_analyses_a_picture_file(client: Client, bench: Workbench) -> None:
    picture = bench.examples / "cat.jpg"
    answer = client.predict(handle_file(picture), 0.5, api_name="/analyze")
    assert [len(stage["kept_patches"]) for stage in answer["stages"]] == [98, 49, 24]
    assert answer == bench.analyze_file(Upload(picture.name, picture), 0.5, None)


def test_program_is_told_what_is_wrong(client: Client, bench: Workbench) -> None:
    with pytest.raises(AppError, match=r"from 0\.10 to 1\.00"):
        client.predict(handle_file(bench.examples / "cat.jpg"), 1.5, api_name="/analyze")


def test_only_uploads_are_read(client: Client, bench: Workbench) -> None:
    on_the_server = {"path": str(bench.examples / "cat.jpg")}
    with pytest.raises(AppError, match="Upload the file first"):
        client.predict(on_the_server, 0.5, api_name="/analyze")


def test_only_the_analysis_is_public(client: Client) -> None:
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/analyze"]


def test_building_leaves_no_files_in_the_source_tree(client: Client) -> None:
    assert not list((Path(__file__).parents[2] / "dynamicvit").rglob("*.pyi"))
