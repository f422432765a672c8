"""Calling back when modules of a model start and end, without touching the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

Name = TypeVar("Name")


@contextmanager
def watch_modules(
    names: Mapping[nn.Module, Name], started: Callable[[Name], Any], ended: Callable[[Name], Any]
) -> Iterator[None]:
    """Call ``started`` and ``ended`` with the name of each of these modules that runs, on the calling thread alone.

    Hooks are set for all modules of the process and not on the model: a model is shared between threads, which may
    watch it at the same time.
    """
    thread = threading.get_ident()

    def before(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == thread and module in names:
            started(names[module])

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == thread and module in names:
            ended(names[module])

    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
