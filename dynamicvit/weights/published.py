"""The weights that the authors of DynamicViT published and that this project can run, and their download.

They give no sizes and no checksums, and only one of the file names is known (LV-ViT-M's); the others here follow it.
A download is therefore verified by what is in it.

Source: model zoo of github.com/raoyongming/DynamicViT (MIT licence), accuracies included.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from dynamicvit import __version__
from dynamicvit.errors import CheckpointError, DownloadError
from dynamicvit.weights.foreign import identify_config
from dynamicvit.weights.io import read_shapes

Progress = Callable[[int, int | None], None]

_CHUNK_BYTES = 1 << 18
_MOST_BYTES = 1 << 31  # the largest of the files has about a sixth of it
_REPORT_INTERVAL_S = 0.1
# Two visitors may want one file at the same time; the second waits and finds it there.
_locks: dict[Path, threading.Lock] = {}


class _RejectedError(Exception):
    """An address does not give the file."""


@dataclass(frozen=True)
class PublishedCheckpoint:
    """One published weight file.

    Attributes:
        title: the authors' name for it.
        model: the name of the model that it must turn out to be.
        keep_ratio: base keep ratio of the training; the file itself does not say.
        file_name: the name under which this project stores and finds it.
        urls: addresses of the file, in the order in which they are tried.
        pages: addresses for a browser, in the same order.
        top1_percent: ImageNet-1k validation accuracy at ``keep_ratio``, as the authors report it.
        licence: of the repository that publishes it.
    """

    title: str
    model: str
    keep_ratio: float
    file_name: str
    urls: tuple[str, ...]
    pages: tuple[str, ...]
    top1_percent: float
    licence: str = "MIT"


def _published(
    title: str, model: str, file_name: str, top1_percent: float, tsinghua_id: str, google_id: str
) -> PublishedCheckpoint:
    return PublishedCheckpoint(
        title=title,
        model=model,
        keep_ratio=float(title.rpartition("/")[2]),
        file_name=file_name,
        urls=(
            f"https://cloud.tsinghua.edu.cn/f/{tsinghua_id}/?dl=1",
            f"https://drive.usercontent.google.com/download?id={google_id}&export=download&confirm=t",
        ),
        pages=(
            f"https://cloud.tsinghua.edu.cn/f/{tsinghua_id}/",
            f"https://drive.google.com/file/d/{google_id}/view",
        ),
        top1_percent=top1_percent,
    )


PUBLISHED = (
    _published(
        "DynamicViT-DeiT-256/0.7",
        "dynamicvit_deit_256_patch16_224",
        "dynamic-vit_deit-256_r0.7.pth",
        76.53,
        "b0e1ff6af1004039855e",
        "1fpdTNRZtGOW25UwOadj1iUdjqmu88WkO",
    ),
    _published(
        "DynamicViT-DeiT-S/0.7",
        "dynamicvit_deit_small_patch16_224",
        "dynamic-vit_deit-s_r0.7.pth",
        79.32,
        "698896dfbcea430b9591",
        "1H5kHHagdqo4emk9CgjfA7DA62XJr8Yc1",
    ),
    _published(
        "DynamicViT-DeiT-B/0.7",
        "dynamicvit_deit_base_patch16_224",
        "dynamic-vit_deit-b_r0.7.pth",
        81.43,
        "660f27ddb6b945a797a8",
        "1J9PCPiOSHmzRiWw370GDYJPEZ8r4uU3M",
    ),
    _published(
        "DynamicViT-LVViT-S/0.5",
        "dynamicvit_lvvit_small_patch16_224",
        "dynamic-vit_lv-s_r0.5.pth",
        81.97,
        "635cb172312749e39cf2",
        "1kPe3MhtYHNdG7natrU20xcAqodO6-Z58",
    ),
    _published(
        "DynamicViT-LVViT-S/0.7",
        "dynamicvit_lvvit_small_patch16_224",
        "dynamic-vit_lv-s_r0.7.pth",
        83.08,
        "d732a3511dd64db598e1",
        "1dNloEsuEiTi592SdM_ELC36kOJ7aaF-3",
    ),
    _published(
        "DynamicViT-LVViT-M/0.7",
        "dynamicvit_lvvit_medium_patch16_224",
        "dynamic-vit_lv-m_r0.7.pth",
        83.82,
        "b8d1efdfc41d4777903e",
        "1dNab1B5ZOTVNpnpO6H1TsXKFM8BAlA3I",
    ),
    _published(
        "DynamicCNN-T/0.7",
        "dynamicvit_convnext_tiny",
        "dynamic-cnn_t_r0.7.pth",
        81.59,
        "95b2daf7593a42f48baa",
        "1Jdp5Xi5E3teBm6zfXqAE681XiszrwqCe",
    ),
    _published(
        "DynamicCNN-T/0.9",
        "dynamicvit_convnext_tiny",
        "dynamic-cnn_t_r0.9.pth",
        82.06,
        "030c6b8268104c16a666",
        "1AHh4kQ_zecKhDzm4bvcZxdl0SoJA3K4Q",
    ),
    _published(
        "DynamicCNN-S/0.7",
        "dynamicvit_convnext_small",
        "dynamic-cnn_s_r0.7.pth",
        82.57,
        "293972cc7d8c4adaac23",
        "155I0ixZzLFLn9xqZtQML5lXt0QWiQaak",
    ),
    _published(
        "DynamicCNN-S/0.9",
        "dynamicvit_convnext_small",
        "dynamic-cnn_s_r0.9.pth",
        83.12,
        "64c4ed5ab02d45998bf6",
        "1xFvhSXua2w2m1tr3WFA_d8MH3wEGgRhN",
    ),
    _published(
        "DynamicCNN-B/0.7",
        "dynamicvit_convnext_base",
        "dynamic-cnn_b_r0.7.pth",
        83.45,
        "1e3a861f272142c38bbc",
        "1epwmGKOEfqjU-WITgrB9VXTWhCu6pcgG",
    ),
    _published(
        "DynamicCNN-B/0.9",
        "dynamicvit_convnext_base",
        "dynamic-cnn_b_r0.9.pth",
        83.96,
        "9b4c8df7b30d410bba75",
        "1lQLXnxETK6hpsx2Tcv3q1HtRjLI21epl",
    ),
    _published(
        "DynamicSwin-T/0.7",
        "dynamicvit_swin_tiny_patch4_window7_224",
        "dynamic-swin_t_r0.7.pth",
        80.91,
        "6a3d0de592f04d77a2fa",
        "1BFlCvXedgttyj8n9smcNphE7NLOy99ig",
    ),
    _published(
        "DynamicSwin-S/0.7",
        "dynamicvit_swin_small_patch4_window7_224",
        "dynamic-swin_s_r0.7.pth",
        83.21,
        "86b58132f354495590d0",
        "1gveNkt5aCzjb5CX_DaGq_XJRvvxruxmy",
    ),
    _published(
        "DynamicSwin-B/0.7",
        "dynamicvit_swin_base_patch4_window7_224",
        "dynamic-swin_b_r0.7.pth",
        83.43,
        "ea260248adc040929970",
        "1sJctKZxdIH0zHwTekWmmCns_1AOeFzeN",
    ),
)


SPACE_STORAGE = Path("/data")


def cache_dir() -> Path:
    """Return the folder of downloaded weights.

    It is ``DYNAMICVIT_CACHE``, or ``dynamicvit`` in ``HF_HOME``, in the persistent storage of a Space that has one, or
    in the user's cache folder.
    """
    chosen = os.environ.get("DYNAMICVIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "dynamicvit"
    if os.environ.get("SPACE_ID") and os.access(SPACE_STORAGE, os.W_OK):
        return SPACE_STORAGE / "dynamicvit"
    user_cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is to be ignored.
    return (user_cache if user_cache.is_absolute() else Path.home() / ".cache") / "dynamicvit"


def download(
    checkpoint: PublishedCheckpoint,
    destination: Path | None = None,
    progress: Progress | None = None,
    *,
    timeout_s: float = 30.0,
) -> Path:
    """Fetch a published checkpoint, unless it is there already.

    The bytes go to ``<destination>.part`` and get their name only when they are the weights of the right model, so
    whatever ends a download early, no file is left that loads wrong.

    Args:
        checkpoint: what to fetch; its addresses are tried in order.
        destination: the file to write; in :func:`cache_dir` under its own name when not given.
        progress: called with the bytes fetched and the file's size in bytes (None: unknown), at most ten times a
            second and once at the end. An exception from it, to cancel, is passed on.
        timeout_s: longest silence of a server.

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
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for url in checkpoint.urls:
                problem = _fetch(url, part, progress, timeout_s) or _mismatch(part, checkpoint)
                if problem is None:
                    os.replace(part, target)
                    return target
                failures.append(f"{urlsplit(url).hostname}: {problem}")
        except OSError as error:
            raise DownloadError(
                f"{target} cannot be written: {error.strerror}. Make room or choose another folder with "
                "DYNAMICVIT_CACHE."
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()
    raise DownloadError(
        f"{checkpoint.title} could not be downloaded ({'; '.join(failures)}). "
        f"Open {' or '.join(checkpoint.pages)} in a browser and save the file as {target}."
    )


def _fetch(url: str, part: Path, progress: Progress | None, timeout_s: float) -> str | None:
    """Write what an address gives into a file; say why not if it does not give all of it."""
    done, reported = 0, -math.inf
    try:
        with part.open("wb") as file, closing(_received(url, timeout_s)) as received:
            for chunk, total in received:
                file.write(chunk)
                done += len(chunk)
                if progress and (done == total or time.monotonic() - reported >= _REPORT_INTERVAL_S):
                    progress(done, total)
                    reported = time.monotonic()
    except _RejectedError as error:
        return str(error)
    return None


def _received(url: str, timeout_s: float) -> Generator[tuple[bytes, int | None], None, None]:
    """Yield the bytes of an address as they come, none at first, each time with the size of the whole if known."""
    try:
        with urlopen(Request(url, headers={"User-Agent": f"dynamicvit/{__version__}"}), timeout=timeout_s) as response:
            if response.headers.get_content_type() == "text/html":
                raise _RejectedError("a web page instead of the file")
            length = response.headers.get("Content-Length", "")
            total = int(length) if re.fullmatch(r"\d{1,18}", length) else None
            yield b"", total
            done = 0
            # read1, because read would hold back what has come until a whole chunk is there.
            while chunk := response.read1(_CHUNK_BYTES):
                done += len(chunk)
                if done > _MOST_BYTES:
                    raise _RejectedError("more bytes than any of the files has")
                yield chunk, total
            if total is not None and done < total:
                raise _RejectedError(f"the connection was cut after {done} of {total} bytes")
    except HTTPError as error:
        error.close()
        raise _RejectedError(f"HTTP {error.code}") from error
    except URLError as error:
        raise _RejectedError(f"not reachable, {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _RejectedError(str(error) or type(error).__name__) from error


def _mismatch(path: Path, checkpoint: PublishedCheckpoint) -> str | None:
    """Say in what a file is not the checkpoint; None when it is.

    There is no published checksum to compare with; the archive's own show a damaged tensor.
    """
    try:
        identified = identify_config(read_shapes(path).tensors, path.name)
    except CheckpointError as error:
        return str(error).rstrip(".")
    if identified.name != checkpoint.model:
        return f"a file of {identified.name} instead of {checkpoint.model}"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return "a damaged file"
    return None
