"""The endpoints as tools, asked by a real MCP client."""

from __future__ import annotations

import ast
import asyncio
import base64
import os
from typing import Any

import pytest
from conftest import EXAMPLES

from dynamicvit.app.layout import build, launch_options
from dynamicvit.app.state import AppState

mcp = pytest.importorskip("mcp", reason="the MCP test needs gradio[mcp]")
# Gradio and the client use what their own dependencies call deprecated; as errors these would end its threads.
pytestmark = pytest.mark.filterwarnings("ignore")


async def ask(address: str, tool: str, arguments: dict[str, Any]) -> tuple[list[str], Any]:
    """Return the names of the tools, and the answer of one of them."""
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
        mcp.ClientSession(read, write) as it,
    ):
        await it.initialize()
        tools = await it.list_tools()
        return [one.name for one in tools.tools], await it.call_tool(tool, arguments)


@pytest.fixture
def address(state: AppState) -> Any:
    page = build(state)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, mcp_server=True, **launch_options())
    yield address
    page.close()
    os.environ.pop("GRADIO_MCP_SERVER", None)


def test_a_client_finds_the_tools_and_has_an_image_analysed(address: str) -> None:
    image = base64.b64encode((EXAMPLES / "cat.jpg").read_bytes()).decode()
    question = {"picture": f"data:image/jpeg;base64,{image}", "keep_ratio": 0.5}
    names, answer = asyncio.run(ask(address, "analyze", question))
    assert names == ["analyze", "compare", "sweep", "models"]
    assert not answer.isError
    told = ast.literal_eval(answer.content[0].text)
    assert [len(stage["kept_patches"]) for stage in told["stages"]] == [98, 49, 24]


def test_a_client_is_told_what_is_wrong(address: str) -> None:
    _, answer = asyncio.run(ask(address, "analyze", {"picture": str(EXAMPLES / "cat.jpg")}))
    assert answer.isError
