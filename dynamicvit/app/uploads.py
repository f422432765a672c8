"""The door for files: what a client calls a file becomes an upload of this app, or is refused.

Gradio's own check covers only files described with ``meta``, which a client may leave out, and lets web addresses in.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Request
from fastapi.responses import PlainTextResponse
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj, traverse

from dynamicvit.errors import DynamicViTError

MAX_UPLOAD_BYTES = 50 * 2**20
NO_ROOM = "The app cannot store files now, its disk is full or read-only; tell whoever runs it, and try again later."
_NO_ROOM_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class UploadError(DynamicViTError, ValueError):
    """What a client calls a file is no upload of this app, or too large."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes:
        name: that the visitor knows it by, without folders.
        path: where it is; not for the visitor's eyes.
    """

    name: str
    path: Path

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            UploadError: the file is gone by now.
        """
        try:
            return self.path.read_bytes()
        except OSError:
            raise _refusal() from None


def uploaded_file(sent: object) -> Upload:
    """Return the upload that a client's description of a file means; nothing else on this machine may be opened.

    Whatever else the description names, the answer is the same sentence, so that it tells nothing about other files.

    Args:
        sent: ``{"path": ..., "orig_name": ...}``, as Gradio's browser side and gradio_client send it; anything else is
            refused.

    Raises:
        UploadError: it is no regular file inside Gradio's upload folder, or larger than ``MAX_UPLOAD_BYTES``.
    """
    path, name = (sent.get("path"), sent.get("orig_name")) if isinstance(sent, dict) else (None, None)
    if not isinstance(path, str):
        raise _refusal()
    try:
        resolved = Path(os.path.realpath(path, strict=True))  # without links and "..": no detour leads outside
        status = resolved.stat()
    except (OSError, ValueError):  # a missing or inaccessible file, a loop of links; a path with a null character
        raise _refusal() from None
    if not resolved.is_relative_to(os.path.realpath(get_upload_folder())) or not stat.S_ISREG(status.st_mode):
        raise _refusal()
    if status.st_size > MAX_UPLOAD_BYTES:
        raise UploadError(f"The file is larger than {MAX_UPLOAD_BYTES >> 20} MB; choose a smaller one.")
    return Upload((Path(name).name if isinstance(name, str) else "") or resolved.name, resolved)


def check_files(sent: object) -> None:
    """Refuse a client's JSON in which anything, however deep, is described as a file and is no upload of this app.

    Raises:
        UploadError: as for :func:`uploaded_file`.
    """
    traverse(sent, uploaded_file, is_file_obj)


class GuardedBlocks(gr.Blocks):
    """A page whose events and endpoints, all of them, get no other files than uploads of this app."""

    async def process_api(self, block_fn: Any, inputs: list[Any], *rest: Any, **options: Any) -> dict[str, Any]:
        """Look at the files in what a client sends, then let Gradio go on.

        Raises:
            gr.Error: as for :func:`uploaded_file`, or nothing can be stored; the client is shown its sentence.
        """
        if options.get("iterator") is None:  # a generator is called again and again for one request
            event = options.get("event_data")
            try:
                check_files([inputs, None if event is None else event._data])
            except UploadError as error:
                raise gr.Error(str(error), print_exception=False) from None
        try:
            answer: dict[str, Any] = await super().process_api(block_fn, inputs, *rest, **options)
        except Exception as error:  # Gradio wraps what its components meet when they store an answer
            if not _finds_no_room(error):
                raise
            raise gr.Error(NO_ROOM, print_exception=False) from error
        return answer


async def tell_no_room(request: Request, error: Exception) -> PlainTextResponse:
    """Answer a request, an upload above all, that failed because nothing can be stored; the browser shows the sentence.

    Raises:
        OSError: the error, when it is about something else.
    """
    if not _finds_no_room(error):
        raise error
    return PlainTextResponse(NO_ROOM, status_code=507)


def _finds_no_room(error: BaseException | None) -> bool:
    """Return whether an error, or the one that it was raised from, is about a disk that takes no files."""
    return error is not None and (getattr(error, "errno", None) in _NO_ROOM_CODES or _finds_no_room(error.__cause__))


def _refusal() -> UploadError:
    return UploadError("Upload the file first: this is none that was uploaded here, or it is gone; add it again.")
