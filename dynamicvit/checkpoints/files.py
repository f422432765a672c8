"""Published checkpoints -> verified files in the cache."""

from __future__ import annotations

import os
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from dynamicvit.checkpoints.catalogue import PublishedCheckpoint
from dynamicvit.checkpoints.identification import identify_config
from dynamicvit.checkpoints.reading import read_shapes
from dynamicvit.checkpoints.transfer import InterruptedTransferError, Progress, RejectedError, discard, transfer
from dynamicvit.errors import CheckpointError, DownloadError

# Two visitors may want one file at the same time; the second waits and finds it there.
_locks: dict[Path, threading.Lock] = {}


def cache_dir() -> Path:
    """Give the folder of downloaded weights: ``DYNAMICVIT_CACHE``, or ``dynamicvit`` in the user's cache folder."""
    chosen = os.environ.get("DYNAMICVIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    user_cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is to be ignored.
    return (user_cache if user_cache.is_absolute() else Path.home() / ".cache") / "dynamicvit"


def download(
    checkpoint: PublishedCheckpoint,
    destination: Path | None = None,
    progress: Progress | None = None,
    *,
    timeout_s: float = 30.0,
    attempts: int = 4,
    pause_s: float = 0.5,
) -> Path:
    """Fetch a published checkpoint, unless it is there already.

    The bytes go to ``<destination>.part`` and get their name only when they are the weights of the right model, so
    whatever ends a download early, no file is left that loads wrong; the next call goes on where this one stopped.

    Args:
        checkpoint: what to fetch; its addresses are tried in order.
        destination: the file to write; in :func:`cache_dir` under its own name when not given.
        progress: called with the bytes fetched and the file's size in bytes (None: unknown), at most ten times a
            second and once at the end. An exception from it, to cancel, is passed on.
        timeout_s: longest silence of a server.
        attempts: connections to one address before the next one is tried.
        pause_s: time between the first two of them; it doubles each time.

    Returns:
        The path of the file.

    Raises:
        DownloadError: no address gives the file, or it cannot be stored; the message says how to get it by hand.
    """
    target = destination or cache_dir() / checkpoint.file_name
    part = target.with_name(f"{target.name}.part")
    failures = []
    with _locks.setdefault(target, threading.Lock()):
        if target.is_file() and _mismatch(target, checkpoint) is None:
            return target
        _make_folder(target.parent)
        for url in checkpoint.urls:
            try:
                _transfer_with_retries(url, part, progress, timeout_s, attempts, pause_s)
            except RejectedError as error:
                failures.append(f"{urlsplit(url).hostname}: {error}")
                continue
            mismatch = _mismatch(part, checkpoint)
            if mismatch is None:
                os.replace(part, target)
                discard(part)
                return target
            discard(part)
            failures.append(f"{urlsplit(url).hostname}: {mismatch}")
    raise DownloadError(
        f"{checkpoint.title} could not be downloaded ({'; '.join(failures)}). "
        f"Open {' or '.join(checkpoint.pages)} in a browser and save the file as {target}."
    )


def _transfer_with_retries(
    url: str, part: Path, progress: Progress | None, timeout_s: float, attempts: int, pause_s: float
) -> None:
    for attempt in range(1, attempts + 1):
        try:
            return transfer(url, part, progress, timeout_s)
        except InterruptedTransferError as error:
            if attempt == attempts:
                raise RejectedError(f"{error}, {attempts} times") from error
            time.sleep(pause_s * 2 ** (attempt - 1))


def _mismatch(path: Path, checkpoint: PublishedCheckpoint) -> str | None:
    """Say in what a file is not the checkpoint; None when it is.

    There is no published checksum to compare with; the archive's own show a damaged tensor.
    """
    try:
        identified = identify_config(read_shapes(path), path.name)
    except CheckpointError as error:
        return str(error).rstrip(".")
    if identified.name != checkpoint.model:
        return f"a file of {identified.name} instead of {checkpoint.model}"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return "a damaged file"
    return None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"The folder {folder} cannot be made: {error.strerror}. Choose another one with DYNAMICVIT_CACHE."
        ) from error
