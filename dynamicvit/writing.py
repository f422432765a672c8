"""Files that are written whole or not at all, whatever ends the program meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dynamicvit.errors import OutputError


def write_whole(path: str | Path, data: bytes | memoryview) -> None:
    """Replace a file: whoever opens the path finds the old content or all of the new.

    Raises:
        OutputError: the disk is full, or the path cannot be written; what was there is still there.
    """
    path = Path(path)
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)  # a pipe or a terminal, which nothing could take the place of
            return
        target = path.resolve()  # what a link leads to is replaced, not the link
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            unfinished.write_bytes(data)
            os.replace(unfinished, target)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says while a path is written into one sentence.

    Raises:
        OutputError: the block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path} cannot be written ({reason}). Make room there, or choose another place.") from error
