"""The processes of one run: alone, or started together by ``accelerate launch`` or ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from dynamicvit.errors import SettingError

Item = TypeVar("Item")

# What torchrun and `accelerate launch` leave in the environment of the processes that they start.
_LAUNCHED = ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION")


@dataclass(frozen=True)
class Processes:
    """This process's place among those of the run.

    Attributes:
        index: of this process, 0 for the one that reports.
        count: number of processes.
        device: where this process runs its model.
    """

    index: int
    count: int
    device: torch.device

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """Return to every process the items of all processes; they must be picklable."""
        if self.count == 1:
            return list(items)
        from accelerate.utils import gather_object

        return gather_object(list(items))

    def leave(self) -> None:
        """End the connection between the processes, after which none may gather."""
        if self.count > 1:
            torch.distributed.destroy_process_group()


def join_processes() -> Processes:
    """Find the other processes of the run; without a launcher this one is alone, and accelerate is not needed.

    Raises:
        SettingError: a launcher started the run, but accelerate is not installed.
    """
    if not any(name in os.environ for name in _LAUNCHED):
        return Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError:
        raise SettingError("Several processes need accelerate; install it with: pip install accelerate") from None
    # Left to itself PartialState joins processes by their GPUs alone.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes, state.device)
