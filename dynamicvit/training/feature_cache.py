"""What frozen networks say about a few fixed crops of each photo, computed once and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dynamicvit.training.plan import Crop


@dataclass(frozen=True)
class FeatureCache:
    """Features of ``photos * crops`` fixed crops, float16, one ``.npy`` file a kind; row = photo * crops + draw.

    Attributes:
        folder: where the files are.
        photos, crops: number of photos, and of crops of each.
    """

    folder: Path
    photos: int
    crops: int

    @property
    def is_complete(self) -> bool:
        """Whether every row has been written."""
        return self._mark.exists()

    def all_crops(self, size: int) -> list[Crop]:
        """Give the crop of each row."""
        return [Crop(photo, draw, size) for photo in range(self.photos) for draw in range(self.crops)]

    def create(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make files without content, for features of these shapes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, shape in shapes.items():
            rows = (self.photos * self.crops, *shape)
            np.lib.format.open_memmap(self._file(name), mode="w+", dtype=np.float16, shape=rows).flush()

    def write(self, crops: Iterable[Crop], features: dict[str, Tensor]) -> None:
        """Write the features (B, ...) of some crops."""
        rows = [self._row(crop) for crop in crops]
        for name, values in features.items():
            file = np.load(self._file(name), mmap_mode="r+")
            file[rows] = values.half().cpu().numpy()
            file.flush()

    def finish(self) -> None:
        """Mark all rows as written."""
        names = sorted(path.stem for path in self.folder.glob("*.npy"))
        self._mark.write_text(json.dumps(names), encoding="utf-8")

    def read(self, crop: Crop) -> dict[str, Tensor]:
        """Give the features of one crop."""
        names = json.loads(self._mark.read_text(encoding="utf-8"))
        rows = {name: np.load(self._file(name), mmap_mode="r")[self._row(crop)] for name in names}
        return {name: torch.from_numpy(np.array(row)) for name, row in rows.items()}

    @property
    def _mark(self) -> Path:
        return self.folder / "complete.json"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _row(self, crop: Crop) -> int:
        return crop.photo * self.crops + crop.draw
