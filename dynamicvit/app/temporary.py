"""Files of visitors on disk: what is older than an hour goes, and the oldest when there are too many."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MAX_AGE_S = 3600.0
MAX_BYTES = 2 * 2**30
EVERY_S = 300.0


@dataclass(frozen=True)
class TemporaryFiles:
    """A folder in which Gradio keeps uploads, also those that no event ever used, and what it serves.

    Gradio's own ``delete_cache`` forgets what a killed process left; this looks at the folder itself.
    """

    folder: Path

    @classmethod
    def own(cls) -> TemporaryFiles:
        """Return a folder of this app alone, below ``GRADIO_TEMP_DIR`` or the system's, after telling Gradio of it.

        Asked again, as it is when Gradio reloads the page, it is the same folder.
        """
        name = f"dynamicvit-{os.getuid() if hasattr(os, 'getuid') else 'app'}"
        folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        if folder.name != name:
            folder /= name
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        return cls(folder)

    @contextmanager
    def kept_small(self) -> Iterator[None]:
        """Clean up now, and again and again until the block ends."""
        ends = threading.Event()

        def clean() -> None:
            self.clean_up()
            while not ends.wait(EVERY_S):
                self.clean_up()

        threading.Thread(target=clean, name="clean-up", daemon=True).start()
        try:
            yield
        finally:
            ends.set()

    def clean_up(self, now: float | None = None) -> None:
        """Delete what is older than an hour, then the oldest files until the rest is below 2 GB, and empty folders."""
        now = time.time() if now is None else now
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for changed, size, path in files:
            if now - changed < MAX_AGE_S and total <= MAX_BYTES:
                break
            with suppress(OSError):  # another process was quicker, or it is not ours
                path.unlink()
            total -= size
        for folder, _, _ in os.walk(self.folder, topdown=False):
            with suppress(OSError):  # not empty
                if Path(folder) != self.folder:
                    os.rmdir(folder)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield when each file was changed, its size and its path; links are not followed."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    status = os.lstat(os.path.join(folder, name))
                    yield status.st_mtime, status.st_size, Path(folder, name)
