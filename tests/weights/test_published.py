from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from dynamicvit.errors import DownloadError
from dynamicvit.models.registry import create_model
from dynamicvit.weights import published
from dynamicvit.weights.io import load_file
from dynamicvit.weights.published import PUBLISHED, PublishedCheckpoint, cache_dir, download

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
    content_type: str = "application/octet-stream"
    tells_length: bool = True
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
        self.send_response(200)
        self.send_header("Content-Type", self.site.content_type)
        if self.site.tells_length:
            self.send_header("Content-Length", str(len(self.site.content)))
        self.end_headers()
        self.send_body(self.site.content)

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


def at(*urls: str, model: str = "tiny") -> PublishedCheckpoint:
    return PublishedCheckpoint("Tiny/0.7", model, 0.7, "tiny.safetensors", urls, ("https://page.example/1",), 50.0)


def fetch(site: Site, target: Path, **options: Any) -> Path:
    return download(at(site.url), target, **options)


def assert_complete(site: Site, target: Path) -> None:
    assert target.read_bytes() == site.content
    assert list(target.parent.iterdir()) == [target]


def test_a_download_gives_the_file_and_nothing_else(site, target, tiny_model):
    assert fetch(site, target) == target
    assert_complete(site, target)
    torch.testing.assert_close(load_file(target).state_dict(), tiny_model.state_dict())


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


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_cut_connection_leaves_nothing_and_the_next_address_is_tried(site, target, tells_length):
    site.tells_length = tells_length
    site.cuts = [HALF]
    with pytest.raises(DownloadError, match=f"cut after {HALF} of" if tells_length else "damaged"):
        fetch(site, target)
    assert list(target.parent.iterdir()) == []
    site.cuts = [HALF]
    download(at(site.url, f"{site.address}/other"), target)
    assert_complete(site, target)


@pytest.mark.parametrize("status", [404, 416, 500, 503])
def test_a_server_in_trouble_is_named_with_its_status(site, target, status):
    site.statuses = [status]
    with pytest.raises(DownloadError, match=f"127.0.0.1: HTTP {status}"):
        fetch(site, target)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_has_moved_is_followed(site, target):
    download(at(f"{site.address}/moved"), target)
    assert_complete(site, target)


def test_what_an_earlier_download_left_is_not_taken_for_the_file(site, target):
    target.parent.mkdir()
    part_of(target).write_bytes(site.content[:HALF])
    fetch(site, target)
    assert_complete(site, target)


def test_a_server_that_never_ends_is_left(site, target, monkeypatch):
    monkeypatch.setattr(published, "_MOST_BYTES", HALF)
    site.tells_length = False
    with pytest.raises(DownloadError, match="more bytes than any of the files"):
        fetch(site, target)
    assert list(target.parent.iterdir()) == []


def test_a_silent_server_is_not_waited_for_forever(site, target):
    site.pauses_at = HALF
    with pytest.raises(DownloadError, match="timed out"):
        fetch(site, target, timeout_s=0.1)
    assert list(target.parent.iterdir()) == []


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
    monkeypatch.setattr(published, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(published.time, "monotonic", lambda: 0.0)
    calls: list[tuple[int, int | None]] = []
    fetch(site, target, progress=lambda *call: calls.append(call))
    assert calls == [(0, len(site.content)), (len(site.content), len(site.content))]


def test_cancelling_leaves_nothing_and_the_next_call_begins_again(site, target, monkeypatch):
    class CancelledError(Exception):
        pass

    def cancel(done: int, total: int | None) -> None:
        if done:
            raise CancelledError

    monkeypatch.setattr(published, "_REPORT_INTERVAL_S", 0.0)
    site.pauses_at = HALF
    with pytest.raises(CancelledError):
        fetch(site, target, progress=cancel)
    assert list(target.parent.iterdir()) == []
    site.go_on.set()
    fetch(site, target)
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
    with pytest.raises(DownloadError, match="cannot be written"):
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
