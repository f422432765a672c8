"""How much memory some work takes at its highest."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_memory(work: Callable[[], Any], device: torch.device) -> float:
    """Return the MB of tensors that some work holds at its highest, beyond those that were there before.

    On a CPU these are torch's allocations as its profiler sees them; what its libraries take for themselves is not
    among them.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # else it writes to the terminal that there is no GPU
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    held = highest = 0
    for change in _allocations(profiled):
        held += change
        highest = max(highest, held)
    return highest / 1e6


def _allocations(profiled: profile) -> list[int]:
    """Return the bytes of each allocation, negative ones for what was freed, in order; only the trace file has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_bytes())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    return [event["args"]["Bytes"] for event in sorted(changes, key=lambda event: event["ts"])]
