from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from dynamicvit.checkpoints import transfer
from dynamicvit.checkpoints.catalogue import PUBLISHED, PublishedCheckpoint
from dynamicvit.checkpoints.files import cache_dir, download
from dynamicvit.checkpoints.loading import load_model
from dynamicvit.errors import DownloadError
from dynamicvit.models.registry import create_model

HALF = 1000


@dataclass
class Site:
    """A web server on this machine that serves one file and misbehaves as told.

    Attributes:
        cuts: for each coming answer, after how many bytes of its body the connection is cut.
        statuses: the coming answers that are errors.
        pauses_at: byte at which the answer waits until ``go_on`` is set.
        requests: headers of the requests that came.
    """

    address: str = ""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"v1"'})
    content_type: str = "application/octet-stream"
    knows_range: bool = True
    knows_if_range: bool = True
    tells_length: bool = True
    content_range: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    pauses_at: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.address}/file"


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        self.site.requests.append(self.headers)
        if self.site.statuses:
            self.send_error(self.site.statuses.pop(0))
            return
        self.send_file()

    def send_file(self) -> None:
        site, start = self.site, self.first_byte()
        if start >= len(site.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", site.content_type)
        for name, value in site.headers.items():
            self.send_header(name, value)
        if start:
            usual = f"bytes {start}-{len(site.content) - 1}/{len(site.content)}"
            self.send_header("Content-Range", usual if site.content_range is None else site.content_range)
        if site.tells_length:
            self.send_header("Content-Length", str(len(site.content) - start))
        self.end_headers()
        self.send_body(site.content[start:])

    def first_byte(self) -> int:
        site = self.site
        validators = site.headers.values()
        has_changed = "If-Range" in self.headers and self.headers["If-Range"] not in validators
        if "Range" not in self.headers or not site.knows_range or (site.knows_if_range and has_changed):
            return 0
        return int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))

    def send_body(self, body: bytes) -> None:
        if self.site.cuts:
            body = body[: self.site.cuts.pop(0)]
        pause = self.site.pauses_at
        if pause is not None:
            self.wfile.write(body[:pause])
            self.site.go_on.wait(10)
            body = body[pause:]
        # The client may have gone by now.
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    site = Site(content=tiny_file.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    site.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "tiny.safetensors"


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def note_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def at(*urls: str, model: str = "tiny") -> PublishedCheckpoint:
    return PublishedCheckpoint("Tiny/0.7", model, 0.7, "tiny.safetensors", urls, ("https://page.example/1",), 50.0)


def fetch(site: Site, target: Path, **options: object) -> Path:
    return download(at(site.url), target, pause_s=0, **options)  # type: ignore[arg-type]


def begin(site: Site, target: Path) -> None:
    """Leave the first half of the file behind, as a cut connection does."""
    site.cuts = [HALF]
    with pytest.raises(DownloadError, match=f"cut after {HALF} of"):
        fetch(site, target, attempts=1)
    assert part_of(target).read_bytes() == site.content[:HALF]
    site.requests.clear()


def assert_complete(site: Site, target: Path) -> None:
    assert target.read_bytes() == site.content
    assert list(target.parent.iterdir()) == [target]


def test_a_download_gives_the_file_and_nothing_else(site, target, tiny_model):
    assert fetch(site, target) == target
    assert_complete(site, target)
    torch.testing.assert_close(load_model(target).state_dict(), tiny_model.state_dict())


def test_a_file_that_is_there_is_not_fetched_again(site, target):
    fetch(site, target)
    fetch(site, target)
    assert len(site.requests) == 1


def test_a_damaged_file_that_is_there_is_replaced(site, target):
    target.parent.mkdir()
    target.write_bytes(site.content[:HALF])
    fetch(site, target)
    assert_complete(site, target)


def test_two_who_want_the_same_file_at_once_cause_one_transfer(site, target):
    site.pauses_at = HALF
    with ThreadPoolExecutor(2) as pool:
        downloads = [pool.submit(fetch, site, target) for _ in range(2)]
        # Time enough for a second request, if there were one.
        time.sleep(0.2)
        site.go_on.set()
        assert [download.result() for download in downloads] == [target, target]
    assert len(site.requests) == 1


def test_downloads_go_to_the_cache_when_no_place_is_given(site, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(tmp_path / "mine"))
    assert download(at(site.url)) == tmp_path / "mine" / "tiny.safetensors"


def test_a_cut_connection_is_resumed_with_the_rest_only(site, target):
    site.cuts = [HALF, HALF]
    fetch(site, target)
    assert_complete(site, target)
    assert [request["Range"] for request in site.requests] == [None, f"bytes={HALF}-", f"bytes={2 * HALF}-"]
    assert site.requests[1]["If-Range"] == '"v1"'


def test_a_later_call_resumes_what_an_earlier_one_left(site, target):
    begin(site, target)
    fetch(site, target)
    assert_complete(site, target)
    assert [request["Range"] for request in site.requests] == [f"bytes={HALF}-"]


def test_a_redirected_transfer_is_resumed(site, target):
    moved = at(f"{site.address}/moved")
    site.cuts = [HALF]
    download(moved, target, pause_s=0)
    assert_complete(site, target)
    assert site.requests[1]["Range"] == f"bytes={HALF}-"


@pytest.mark.parametrize(
    ("headers", "if_range"),
    [
        ({"Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}, "Sat, 01 Jan 2022 00:00:00 GMT"),
        ({"ETag": 'W/"weak"'}, None),
        ({}, None),
    ],
)
def test_resuming_is_made_conditional_on_what_the_server_gives(site, target, headers, if_range):
    site.headers = headers
    site.cuts = [HALF]
    fetch(site, target)
    assert_complete(site, target)
    assert (site.requests[1]["Range"], site.requests[1]["If-Range"]) == (f"bytes={HALF}-", if_range)


def test_a_server_that_ignores_ranges_is_read_from_the_start(site, target):
    begin(site, target)
    site.knows_range = False
    fetch(site, target)
    assert_complete(site, target)


def test_a_part_of_another_version_is_not_continued(site, target):
    begin(site, target)
    part_of(target).write_bytes(b"old version".ljust(HALF))
    site.headers = {"ETag": '"v2"'}
    fetch(site, target)
    assert [request["If-Range"] for request in site.requests] == ['"v1"']
    assert_complete(site, target)


@pytest.mark.parametrize(("known", "value"), [("validator", '"v0"'), ("total_bytes", 10**6)])
def test_a_partial_answer_of_another_version_is_not_appended(site, target, known, value):
    begin(site, target)
    site.knows_if_range = False
    note = note_of(target)
    note.write_text(json.dumps(json.loads(note.read_text()) | {known: value}))
    fetch(site, target)
    assert [request["Range"] for request in site.requests] == [f"bytes={HALF}-", None]
    assert_complete(site, target)


@pytest.mark.parametrize("content_range", ["bytes 0-9/{}", "{}", ""])
def test_a_partial_answer_from_another_place_is_not_appended(site, target, content_range):
    begin(site, target)
    site.content_range = content_range.format(len(site.content))
    fetch(site, target)
    assert [request["Range"] for request in site.requests] == [f"bytes={HALF}-", None]
    assert_complete(site, target)


@pytest.mark.parametrize("note", [None, "{}", "not json", "[]"])
def test_a_part_of_unknown_origin_is_started_over(site, target, note):
    target.parent.mkdir()
    part_of(target).write_bytes(b"x" * HALF)
    if note is not None:
        note_of(target).write_text(note)
    fetch(site, target)
    assert site.requests[0]["Range"] is None
    assert_complete(site, target)


def test_a_part_of_another_address_is_started_over(site, target):
    begin(site, target)
    download(at(f"{site.address}/other"), target)
    assert site.requests[0]["Range"] is None
    assert_complete(site, target)


def test_a_part_longer_than_the_file_is_started_over(site, target):
    begin(site, target)
    part_of(target).write_bytes(b"x" * (len(site.content) + 1))
    fetch(site, target)
    assert_complete(site, target)


def test_a_refused_range_is_started_over(site, target):
    begin(site, target)
    site.statuses = [416]
    fetch(site, target)
    assert [request["Range"] for request in site.requests] == [f"bytes={HALF}-", None]
    assert_complete(site, target)


def test_a_part_that_was_complete_is_used_without_a_request(site, target):
    begin(site, target)
    part_of(target).write_bytes(site.content)
    calls: list[tuple[int, int | None]] = []
    fetch(site, target, progress=lambda *call: calls.append(call))
    assert_complete(site, target)
    assert site.requests == []
    assert calls == [(len(site.content), len(site.content))]


def test_a_file_of_unknown_length_is_fetched_and_never_resumed(site, target):
    site.tells_length = False
    site.cuts = [HALF]
    with pytest.raises(DownloadError, match="damaged"):
        fetch(site, target)
    assert list(target.parent.iterdir()) == []
    fetch(site, target)
    assert_complete(site, target)


def test_a_server_in_trouble_is_asked_again(site, target):
    site.statuses = [503, 429]
    fetch(site, target)
    assert_complete(site, target)


def test_a_server_that_always_cuts_is_given_up_and_the_part_is_kept(site, target):
    site.cuts = [HALF, 0, 0]
    with pytest.raises(DownloadError, match="3 times"):
        fetch(site, target, attempts=3)
    assert len(site.requests) == 3
    assert not target.exists()
    assert part_of(target).stat().st_size == HALF


def test_a_silent_server_is_not_waited_for_forever(site, target):
    site.pauses_at = HALF
    with pytest.raises(DownloadError, match="timed out"):
        fetch(site, target, attempts=1, timeout_s=0.1)
    assert part_of(target).stat().st_size == HALF


def test_an_address_that_does_not_exist_is_asked_once_and_the_next_one_tried(site, target):
    site.statuses = [404]
    download(at(f"{site.address}/gone", site.url), target)
    assert len(site.requests) == 2
    assert_complete(site, target)


def test_an_unreachable_server_is_reported_with_the_way_by_hand(target):
    with pytest.raises(DownloadError) as caught:
        download(at("http://127.0.0.1:1/file"), target)
    message = str(caught.value)
    assert "127.0.0.1: not reachable" in message
    assert f"Open https://page.example/1 in a browser and save the file as {target}." in message


def test_the_final_error_names_every_address_that_failed(site, target):
    site.statuses = [404]
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1: HTTP 404; localhost: not reachable"):
        download(at(site.url, "http://localhost:1/file"), target)


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_in_the_place_of_the_file_is_rejected(site, target, content_type):
    site.content, site.content_type = b"<!DOCTYPE html><title>Sign in</title>", content_type
    with pytest.raises(DownloadError, match="web page"):
        fetch(site, target)
    assert list(target.parent.iterdir()) == []
    assert len(site.requests) == 1


def test_a_web_page_does_not_destroy_the_part_that_is_there(site, target):
    begin(site, target)
    good, site.content, site.content_type = site.content, b"<html>" * HALF, "text/html"
    with pytest.raises(DownloadError, match="web page"):
        fetch(site, target)
    assert part_of(target).read_bytes() == good[:HALF]


def test_weights_of_another_model_are_rejected(site, target):
    with pytest.raises(DownloadError, match="a file of tiny instead of deit_small_patch16_224"):
        download(at(site.url, model="deit_small_patch16_224"), target)
    assert list(target.parent.iterdir()) == []


def test_a_changed_byte_in_a_tensor_is_noticed(site, target, tmp_path):
    torch.save(create_model("tiny").state_dict(), tmp_path / "tiny.pth")
    content = bytearray((tmp_path / "tiny.pth").read_bytes())
    content[len(content) // 2] ^= 1
    site.content = bytes(content)
    with pytest.raises(DownloadError, match="a damaged file"):
        fetch(site, target)
    assert list(target.parent.iterdir()) == []


def test_progress_begins_at_nothing_and_ends_at_the_whole_file(site, target):
    calls: list[tuple[int, int | None]] = []
    fetch(site, target, progress=lambda *call: calls.append(call))
    total = len(site.content)
    assert calls[0] == (0, total)
    assert calls[-1] == (total, total)
    assert calls == sorted(calls)


def test_progress_is_not_reported_for_every_chunk(site, target, monkeypatch):
    monkeypatch.setattr(transfer, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(transfer.time, "monotonic", lambda: 0.0)
    calls: list[tuple[int, int | None]] = []
    fetch(site, target, progress=lambda *call: calls.append(call))
    assert calls == [(0, len(site.content)), (len(site.content), len(site.content))]


def test_cancelling_leaves_only_the_part_and_the_next_call_goes_on(site, target, monkeypatch):
    class CancelledError(Exception):
        pass

    def cancel(done: int, total: int | None) -> None:
        if done:
            raise CancelledError

    monkeypatch.setattr(transfer, "_REPORT_INTERVAL_S", 0.0)
    site.pauses_at = HALF
    with pytest.raises(CancelledError):
        fetch(site, target, progress=cancel)
    assert not target.exists()
    assert part_of(target).read_bytes() == site.content[:HALF]
    site.go_on.set()
    site.requests.clear()
    fetch(site, target)
    assert site.requests[0]["Range"] == f"bytes={HALF}-"
    assert_complete(site, target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_at_once(site, target):
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="No space left on device"):
        fetch(site, target)
    assert len(site.requests) == 1


def test_a_folder_that_cannot_be_made_is_reported(site, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DownloadError, match="cannot be made"):
        fetch(site, tmp_path / "taken" / "tiny.safetensors")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("DYNAMICVIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "dynamicvit"
    monkeypatch.setenv("DYNAMICVIT_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_the_cache_is_in_the_home_folder_otherwise(monkeypatch, tmp_path, value):
    monkeypatch.delenv("DYNAMICVIT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "dynamicvit"


@pytest.mark.parametrize("checkpoint", PUBLISHED, ids=lambda checkpoint: checkpoint.title)
def test_published_files_are_fetched_over_encrypted_connections_from_two_places(checkpoint):
    assert [url.split("/")[2] for url in checkpoint.urls] == ["cloud.tsinghua.edu.cn", "drive.usercontent.google.com"]
    assert all(address.startswith("https://") for address in checkpoint.urls + checkpoint.pages)
    assert checkpoint.title.endswith(f"/{checkpoint.keep_ratio}")
