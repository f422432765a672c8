"""One HTTP request whose answer goes into a ``.part`` file, from where an earlier one stopped."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dynamicvit import __version__
from dynamicvit.errors import DownloadError

Progress = Callable[[int, int | None], None]

_CHUNK_BYTES = 1 << 18
_REPORT_INTERVAL_S = 0.1
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)


class RejectedError(Exception):
    """An address does not give the file, and asking it again would not help."""


class InterruptedTransferError(Exception):
    """A transfer stopped before its end; the next one may go on from there."""


@dataclass(frozen=True)
class _Version:
    """Which version of which file a ``.part`` is the beginning of; stored beside it.

    Attributes:
        url: the address that was asked.
        validator: its ETag or modification time; empty when the server gives neither.
        total_bytes: size of the whole file; None when the server does not say.
    """

    url: str
    validator: str
    total_bytes: int | None


def transfer(url: str, part: Path, progress: Progress | None, timeout_s: float) -> None:
    """Fetch a file to its end, or as far as one connection goes.

    Args:
        url: the address.
        part: where the bytes go; what is there already is kept only if the server confirms that it is the same file.
        progress: called with the bytes that are there and the size of the file (None: unknown), at most ten times a
            second and once at the end. What it raises ends the transfer.
        timeout_s: longest silence of the server.

    Raises:
        RejectedError: the address does not give the file.
        InterruptedTransferError: only a part came; the rest can be asked for.
        DownloadError: the file cannot be written.
    """
    report = _throttled(progress)
    version = _resumable_version(part, url)
    start = part.stat().st_size if version else 0
    if version and start == version.total_bytes:
        report(start, start)
        return
    with _open(_request(url, start, version), part, timeout_s) as response:
        if response.headers.get_content_type() == "text/html":
            raise RejectedError("a web page instead of the file")
        _receive(response, part, version, _version_of(response.headers, url), report)


def discard(part: Path) -> None:
    """Remove a ``.part`` file and what is known about it."""
    part.unlink(missing_ok=True)
    _version_path(part).unlink(missing_ok=True)


def _request(url: str, start: int, version: _Version | None) -> Request:
    headers = {"User-Agent": f"dynamicvit/{__version__}"}
    if start and version:
        headers["Range"] = f"bytes={start}-"
        if version.validator:
            headers["If-Range"] = version.validator
    return Request(url, headers=headers)


def _open(request: Request, part: Path, timeout_s: float) -> HTTPResponse:
    try:
        return urlopen(request, timeout=timeout_s)
    except HTTPError as error:
        error.close()
        # 416: there are more bytes here than the server's file has, so they are not of that file.
        if error.code == 416:
            discard(part)
        if error.code == 416 or error.code in _TRANSIENT_STATUS:
            raise InterruptedTransferError(f"HTTP {error.code}") from error
        raise RejectedError(f"HTTP {error.code}") from error
    except URLError as error:
        raise RejectedError(f"not reachable, {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise InterruptedTransferError(str(error) or type(error).__name__) from error


def _receive(response: HTTPResponse, part: Path, held: _Version | None, offered: _Version, report: Progress) -> None:
    """Write the answer behind the bytes that are there, or in their place if it is the whole file."""
    done = 0
    if response.status == 206:
        done = part.stat().st_size
        if held is None or not _continues(response.headers, done, held, offered):
            discard(part)
            raise InterruptedTransferError("the file has changed on the server")
    with _open_part(part, is_appended=done > 0) as file:
        if not done:
            _store_version(part, offered)
        report(done, offered.total_bytes)
        for chunk in _chunks(response):
            _write(file, chunk, part)
            done += len(chunk)
            report(done, offered.total_bytes)
    if offered.total_bytes is not None and done < offered.total_bytes:
        raise InterruptedTransferError(f"the connection was cut after {done} of {offered.total_bytes} bytes")


def _continues(headers: HTTPMessage, done: int, held: _Version, offered: _Version) -> bool:
    """Tell whether a partial answer begins where the bytes end, in the same version of the file."""
    begins = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return (
        begins is not None
        and int(begins[1]) == done
        and offered.total_bytes == held.total_bytes
        # A partial answer may leave the validator out.
        and offered.validator in ("", held.validator)
    )


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            # read1, because read would hold back what has come until a whole chunk is there, and lose it at a cut.
            chunk = response.read1(_CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise InterruptedTransferError(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


def _version_of(headers: HTTPMessage, url: str) -> _Version:
    etag = headers.get("ETag", "")
    # A weak ETag does not promise equal bytes, so it cannot be used to go on.
    validator = headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
    length = re.search(r"/(\d+)$", headers.get("Content-Range", "")) or re.search(
        r"^(\d+)$", headers.get("Content-Length", "")
    )
    return _Version(url, validator, int(length[1]) if length else None)


def _version_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _store_version(part: Path, version: _Version) -> None:
    with _storage_errors(part):
        _version_path(part).write_text(json.dumps(asdict(version)), encoding="utf-8")


def _resumable_version(part: Path, url: str) -> _Version | None:
    """Give what is known about a ``.part`` file; None when it cannot be the beginning of what the address gives."""
    try:
        version = _Version(**json.loads(_version_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    is_usable = part.is_file() and version.url == url and isinstance(version.total_bytes, int)
    return version if is_usable else None


def _open_part(part: Path, *, is_appended: bool) -> BinaryIO:
    with _storage_errors(part):
        return part.open("ab" if is_appended else "wb", buffering=0)


def _write(file: BinaryIO, chunk: bytes, part: Path) -> None:
    """Write all of a chunk; without a buffer, so that a full disk is noticed here and not when the file is closed."""
    rest = memoryview(chunk)
    with _storage_errors(part):
        while rest:
            rest = rest[file.write(rest) :]


@contextmanager
def _storage_errors(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{part} cannot be written: {error.strerror}. Make room or choose another folder with DYNAMICVIT_CACHE."
        ) from error


def _throttled(progress: Progress | None) -> Progress:
    last = -math.inf

    def report(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if progress is not None and (done == total or now - last >= _REPORT_INTERVAL_S):
            last = now
            progress(done, total)

    return report
