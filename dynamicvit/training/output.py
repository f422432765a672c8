"""The output folder of a run: what it was started with, its log, its state, its weights and its summary."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dynamicvit.errors import CheckpointError, SettingError
from dynamicvit.writing import explained, write_whole

State = dict[str, Any]


@dataclass(frozen=True)
class OutputFolder:
    """Files of one run; each is replaced as a whole, so a reader and a killed run leave none half written."""

    path: Path

    @property
    def weights(self) -> Path:
        """The averaged weights."""
        return self.path / "weights.safetensors"

    def check(self, record: Mapping[str, object]) -> None:
        """Make sure that the folder belongs to no other run.

        Args:
            record: everything that decides the run's course, as JSON values.

        Raises:
            SettingError: it holds the state of a run that was started otherwise.
        """
        if not self._state.exists():
            return
        try:
            stored = json.loads(self._options.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SettingError(f"{self.path} holds a state of unknown origin; give another --output.") from None
        different = [name for name in {**stored, **record} if stored.get(name) != record.get(name)]
        if different:
            name = different[0]
            raise SettingError(
                f"{self.path} holds a run with {name.replace('_', '-')} {stored.get(name)}, not {record.get(name)}; "
                f"give the same options to go on with it, or another --output (and --start {self.weights} to begin "
                "from its weights)."
            )

    def open(self, record: Mapping[str, object]) -> None:
        """Make the folder and store what the run is started with.

        Raises:
            OutputError: as for everything below that writes; the folder cannot be written to, or the disk is full.
        """
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.glob(".*.part"):  # of a call that was killed while it wrote
                left.unlink()
        self._write(self._options, json.dumps(record, indent=2, allow_nan=True) + "\n")

    def read_state(self) -> State | None:
        """Return the last saved state, None when there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        if not self._state.exists():
            return None
        try:
            return torch.load(self._state, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can make the parser fail in any way
            raise CheckpointError(f"{self._state} cannot be read; remove it to start the run anew.") from error

    def write_state(self, state: State) -> None:
        """Replace the saved state."""
        data = io.BytesIO()  # torch's own writer ends the process, or names no reason, where the disk is full
        torch.save(state, data)
        write_whole(self._state, data.getbuffer())

    def log(self, line: Mapping[str, object]) -> None:
        """Append one JSON line."""
        with explained(self._log), self._log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def forget_log_after(self, step: int) -> None:
        """Drop log lines of steps that will be done again."""
        if self._log.exists():
            lines = self._log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            self._write(self._log, "".join(f"{line}\n" for line in kept))

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Replace ``summary.json``."""
        self._write(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    @property
    def _options(self) -> Path:
        return self.path / "options.json"

    @property
    def _state(self) -> Path:
        return self.path / "state.pt"

    @property
    def _log(self) -> Path:
        return self.path / "log.jsonl"

    def _write(self, path: Path, text: str) -> None:
        write_whole(path, text.encode())


def _step_of(line: str) -> float:
    """Return the step of a log line; infinity for one that a kill cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf
