"""Whatever a client sends to an event, an endpoint or a server function of the page: only uploads are opened."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from conftest import EXAMPLES
from gradio import processing_utils
from gradio.route_utils import GradioUploadFile
from PIL import Image

from dynamicvit.app.layout import MAX_QUEUE, build, launch_options
from dynamicvit.app.state import AppState
from dynamicvit.app.uploads import MAX_UPLOAD_BYTES, NO_ROOM, Upload, UploadError, uploaded_file

# Gradio uses what its own dependencies call deprecated; as errors these would end its threads.
pytestmark = pytest.mark.filterwarnings("ignore")

REFUSAL = "Upload the file first: this is none that was uploaded here, or it is gone; add it again."
META = {"_type": "gradio.FileData"}
DESCRIPTIONS: list[Callable[[str], Any]] = [  # of a file, as a client may send it
    lambda path: {"path": path},
    lambda path: {"path": path, "meta": META, "orig_name": "mine.png"},
    lambda path: [{"path": path}],
    lambda path: [{"path": path, "meta": META}],
    lambda path: {"value": [{"video": {"path": path, "meta": META}}]},
]
DEADLINE_S = 120.0
HOST = "picture.invalid"


class Watch:
    """Notes every attempt to open one of some files, or to look up HOST; to open what never ends fails at once."""

    def __init__(self, files: set[str], endless: set[str]) -> None:
        self.files = files | endless
        self.endless = endless
        self.attempts: list[str] = []
        self.is_on = True
        sys.addaudithook(self._note)  # stays for the life of the process

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event not in ("open", "socket.getaddrinfo") or isinstance(arguments[0], int | None):
            return
        target = os.fsdecode(arguments[0])
        if event == "open":
            target = os.path.realpath(target)
        if target in {*self.files, HOST}:
            self.attempts.append(target)
            if target in self.endless:
                raise PermissionError("a client made the app open a file that never ends")


@pytest.fixture(scope="module")
def upload_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An upload folder of this module's own."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image that nobody uploaded."""
    folder = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "secret.png")
    return folder


@pytest.fixture(scope="module")
def paths(upload_folder: Path, outside: Path) -> list[str]:
    """What a client may want opened: the image that is no upload, ways to it, missing files, and what is no file."""
    (upload_folder / "link.png").symlink_to(outside / "secret.png")
    (upload_folder / "folder").symlink_to(outside)
    (upload_folder / "loop.png").symlink_to(upload_folder / "loop.png")
    os.mkfifo(upload_folder / "pipe.png")
    return [
        str(outside / "secret.png"),
        str(outside / "missing.png"),
        f"{upload_folder}/../{outside.name}/secret.png",
        os.path.relpath(outside / "secret.png"),
        *(str(upload_folder / name) for name in ("link.png", "folder/secret.png", "loop.png", "pipe.png", "none.png")),
        str(upload_folder),
        "/dev/zero",
        f"http://{HOST}/secret.png",
        "\0",
    ]


@pytest.fixture
def attempts(upload_folder: Path, outside: Path) -> Iterator[list[str]]:
    """The files that no client may make the app open, and yet it tried to."""
    watch = Watch({str(outside / "secret.png")}, {str(upload_folder / "pipe.png"), "/dev/zero"})
    yield watch.attempts
    watch.is_on = False


@pytest.fixture(scope="module")
def page(state: AppState, upload_folder: Path) -> gr.Blocks:
    return build(state)


@pytest.fixture(scope="module")
def client(page: gr.Blocks) -> Iterator[httpx.Client]:
    """A client that sends what it likes."""
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    with httpx.Client(base_url=address, timeout=DEADLINE_S) as client:
        yield client
    page.close()


def events_of(page: gr.Blocks) -> list[Any]:
    """Give all dependencies of the page that run Python."""
    assert {dependency["id"] for dependency in page.config["dependencies"]} == set(page.fns)
    return [event for event in page.fns.values() if event.fn is not None]


def server_functions_of(page: gr.Blocks) -> list[tuple[int, str]]:
    blocks = page.blocks.items()
    return [(key, name) for key, block in blocks for name, value in vars(block).items() if is_server_function(value)]


def is_server_function(value: object) -> bool:
    return getattr(value, "_is_server_fn", False) is True


def wishes_with(event: Any, value: Any) -> Iterator[dict[str, Any]]:
    """Give requests for an event that carry a value: in each of its inputs, and beside them."""
    defaults = [getattr(block, "value", None) if type(block).__name__ == "Api" else None for block in event.inputs]
    trigger = event.targets[0][0] if event.targets else None
    wish = {"fn_index": event._id, "trigger_id": trigger}
    for place in range(len(defaults)):
        yield {**wish, "data": [*defaults[:place], value, *defaults[place + 1 :]]}
    if event.targets and event.targets[0][1] not in ("click", "upload", "load", "select"):  # an event of our own
        names = ("image", "model", "name", "language", "settings", "stage", "patch")
        yield {**wish, "data": defaults, "event_data": dict.fromkeys(names, value)}


def ask_all(client: httpx.Client, wishes: list[dict[str, Any]]) -> list[str]:
    """Send requests to the queue as one visitor, no more at a time than it takes; return what comes back for each."""
    rounds = [wishes[start : start + MAX_QUEUE] for start in range(0, len(wishes), MAX_QUEUE)]
    return [answer for some in rounds for answer in ask_some(client, some)]


def ask_some(client: httpx.Client, wishes: list[dict[str, Any]]) -> list[str]:
    session = {"session_hash": os.urandom(8).hex()}
    joined = [client.post("/gradio_api/queue/join", json=session | wish).raise_for_status() for wish in wishes]
    answers = {answer.json()["event_id"]: "" for answer in joined}
    waiting = set(answers)
    if not waiting:
        return []
    with client.stream("GET", "/gradio_api/queue/data", params=session) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:") or "{}")
            if message.get("msg") in ("process_generating", "process_completed"):
                answers[message["event_id"]] += told(message["output"])
            if message.get("msg") == "process_completed":
                waiting.remove(message["event_id"])
            if not waiting:
                break
    assert not waiting
    return list(answers.values())


def told(output: dict[str, Any]) -> str:
    """Give what an event's output says, without times."""
    return str(output["error"]) if "error" in output else json.dumps(output["data"])


def ask_server(client: httpx.Client, function: tuple[int, str], arguments: Any) -> str:
    component, name = function
    body = {"session_hash": "visit", "component_id": component, "fn_name": name, "data": arguments}
    # After an error in a function the server closes the connection, maybe under the next request.
    return client.post("/gradio_api/component_server", json=body, headers={"connection": "close"}).text


def assert_alike(answers: list[str], paths: list[str]) -> None:
    """Nothing but the client's own words tells the answers about several paths apart, and none holds an image."""
    alike = set()
    for answer, path in zip(answers, paths, strict=True):
        spellings = json.dumps(path)[1:-1], json.dumps(repr(path)[1:-1])[1:-1], path, path[:39]  # sentences may cut it
        own_words = re.compile(f"'?({'|'.join(map(re.escape, spellings))})'?")
        alike.add(re.sub(r'"serial": ?[0-9]+', "", own_words.sub("...", answer)))
    assert len(alike) == 1
    assert "data:image" not in alike.pop()


@pytest.fixture(scope="module")
def described(paths: list[str]) -> list[Any]:
    """All the paths described with and without meta; in other ways, which lead to the same checks, the first ones."""
    bare, with_meta, *others = DESCRIPTIONS
    return [*map(bare, paths), *map(with_meta, paths), *(describe(path) for describe in others for path in paths[:2])]


def test_every_event_refuses_all_but_uploads_in_one_sentence(
    client: httpx.Client, page: gr.Blocks, described: list[Any], attempts: list[str]
) -> None:
    events = events_of(page)
    wishes = [wish for event in events for value in described for wish in wishes_with(event, value)]
    answers = ask_all(client, wishes)
    assert attempts == []
    others = {
        (page.fns[wish["fn_index"]].name, answer)
        for wish, answer in zip(wishes, answers, strict=True)
        if answer != REFUSAL
    }
    assert others == set()
    assert {event.name for event in events} >= {"add_image", "survey", "show", "analyze"}


def test_every_server_function_refuses_all_but_uploads_in_one_sentence(
    client: httpx.Client, page: gr.Blocks, described: list[Any], attempts: list[str]
) -> None:
    functions = server_functions_of(page)
    assert {"analyse", "export", "open_analysis"} <= {name for _, name in functions}
    answers = {ask_server(client, function, [value] * 3) for function in functions for value in described}
    assert attempts == []
    assert {json.loads(answer)["problem"] for answer in answers} == {REFUSAL}


@pytest.mark.parametrize("route", ["/gradio_api/call/analyze", "/gradio_api/run/analyze"])
def test_endpoint_refuses_all_but_uploads_in_one_sentence(
    client: httpx.Client, described: list[Any], attempts: list[str], route: str
) -> None:
    for value in described:
        answer = client.post(route, json={"data": [value, 0.5, ""]})
        if "event_id" in answer.json():
            answer = client.get(f"{route}/{answer.json()['event_id']}")
        assert json.loads(answer.text.removeprefix("event: error\ndata: "))["error"] == REFUSAL
    assert attempts == []


def test_path_without_a_description_is_no_file_to_anyone(
    client: httpx.Client, page: gr.Blocks, paths: list[str], attempts: list[str]
) -> None:
    paths = [path for path in paths if path.endswith(("/secret.png", "missing.png", "pipe.png", "zero"))]
    for event in events_of(page):
        kinds = list(zip(*(wishes_with(event, path) for path in paths), strict=True))
        answers = ask_all(client, [wish for wishes in kinds for wish in wishes])
        for start in range(0, len(answers), len(paths)):
            assert_alike(answers[start : start + len(paths)], paths)
    for function in server_functions_of(page):
        for count in range(1, 7):
            assert_alike([ask_server(client, function, [path] * count) for path in paths], paths)
    assert attempts == []


@pytest.mark.parametrize("extra", [{}, {"meta": META, "orig_name": "mein Bild.jpg"}], ids=["bare", "with meta"])
def test_upload_is_opened(client: httpx.Client, page: gr.Blocks, extra: dict[str, Any]) -> None:
    files = {"files": ("cat.jpg", (EXAMPLES / "cat.jpg").read_bytes())}
    (path,) = client.post("/gradio_api/upload", files=files).json()
    event = next(event for event in events_of(page) if event.name == "add_image")
    (answer,) = ask_all(client, [{"fn_index": event._id, "data": [{"path": path, **extra}, None]}])
    assert "data:image" in answer


def test_upload_goes_by_the_visitors_name(upload_folder: Path) -> None:
    path = upload_folder / "stored.png"
    path.write_bytes(b"content")
    assert uploaded_file({"path": str(path), "orig_name": "photo 1.png"}) == Upload("photo 1.png", path)
    assert uploaded_file({"path": str(path), "orig_name": "/home/me/photo.png"}).name == "photo.png"
    for unusable in (None, "", "/", ["x"]):
        assert uploaded_file({"path": str(path), "orig_name": unusable}).name == "stored.png"
    assert uploaded_file({"path": str(path)}).read() == b"content"


def test_file_that_is_too_large_is_refused_unread(upload_folder: Path) -> None:
    large = upload_folder / "large.png"
    for size, is_refused in ((MAX_UPLOAD_BYTES, False), (MAX_UPLOAD_BYTES + 1, True)):
        with large.open("wb") as file:
            file.truncate(size)
        if is_refused:
            with pytest.raises(UploadError, match="larger than 50 MB"):
                uploaded_file({"path": str(large)})
        else:
            uploaded_file({"path": str(large)})
    large.unlink()


def test_upload_folder_may_itself_be_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "cat.png").write_bytes(b"content")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "link"))
    assert uploaded_file({"path": str(tmp_path / "link" / "cat.png")}).read() == b"content"


@pytest.mark.parametrize("sent", [None, "x.png", [], {}, {"path": None}, {"path": ["x"]}, {"path": "x" * 5000}])
def test_what_describes_no_file_is_refused(sent: object) -> None:
    with pytest.raises(UploadError, match="Upload the file first"):
        uploaded_file(sent)


def test_upload_that_went_away_is_refused_in_the_same_sentence(upload_folder: Path) -> None:
    with pytest.raises(UploadError) as refused:
        Upload("cat.png", upload_folder / "gone.png").read()
    assert str(refused.value) == REFUSAL


def test_a_full_disk_is_told_in_a_sentence_to_whoever_uploads_or_asks(
    client: httpx.Client, page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    event = next(event for event in events_of(page) if event.fn.__name__ == "choose_example")
    wish = {"fn_index": event._id, "data": [{}], "event_data": {"name": "pagoda"}, "trigger_id": event.targets[0][0]}
    with monkeypatch.context() as full:
        full.setattr(GradioUploadFile, "write", fail)
        full.setattr(processing_utils, "save_pil_to_cache", fail)
        upload = client.post("/gradio_api/upload", files={"files": ("mine.png", b"content")})
        (answer,) = ask_some(client, [wish])
    assert (upload.status_code, upload.text, answer) == (507, NO_ROOM, NO_ROOM)
    assert client.post("/gradio_api/upload", files={"files": ("mine.png", b"content")}).status_code == 200
    assert "data:image" in ask_some(client, [wish])[0]
