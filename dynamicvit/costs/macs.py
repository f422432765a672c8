"""Multiply-adds of one real forward pass, by module.

One multiply-add counts once: what papers on vision transformers print as "FLOPs", and half of what torch's own counter
gives. Matrix products (linear layers, attention's two products) and convolutions count; norms, activations, additions,
sorting and gathering count nothing.

The formulas are torch's. It has none for fused attention on the CPU, which ``FlopCounterMode`` therefore counts as zero
(pytorch issue 195460); that one and its relatives are added here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop

from dynamicvit.costs.watching import watch_modules

PREDICTORS = "score_predictor"

_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)
_FLOPS: dict[Any, Callable[..., int]] = flop_registry | {
    getattr(torch.ops.aten, name): sdpa_flop for name in _FUSED_ATTENTION if hasattr(torch.ops.aten, name)
}


@dataclass(frozen=True)
class MacReport:
    """Multiply-adds of a forward pass, of the whole batch.

    Attributes:
        by_module: multiply-adds by the name of the innermost module that ran them: ``"blocks.3.attn"`` has the two
            products of attention, ``"blocks.3.attn.qkv"`` the linear layer; ``""`` is the model itself.
    """

    by_module: Mapping[str, int]

    @property
    def total(self) -> int:
        """All multiply-adds."""
        return sum(self.by_module.values())

    @property
    def gmacs(self) -> float:
        """All multiply-adds, in units of 10^9."""
        return self.total / 1e9

    @property
    def predictors(self) -> int:
        """Multiply-adds of the prediction modules; they are part of the total."""
        return sum(count for name, count in self.by_module.items() if PREDICTORS in name.split("."))

    def within(self, prefix: str) -> int:
        """Multiply-adds of the module of that name and all modules inside it."""
        return sum(count for name, count in self.by_module.items() if f"{name}.".startswith(f"{prefix}."))


class MacCounter:
    """Counts the multiply-adds that a model spends inside a ``with`` block, on the calling thread alone.

    The model is left as it is, so other threads may use it, and count on it, at the same time. Use a counter once.

    Example:
        >>> with MacCounter(model) as counter:
        ...     logits = model(images)
        >>> counter.report().gmacs
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._counts: Counter[str] = Counter()
        self._running = [""]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        names = {module: name for name, module in self._model.named_modules()}
        self._stack.enter_context(watch_modules(names, self._running.append, lambda _: self._running.pop()))
        self._stack.enter_context(_Interceptor(self._record))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def report(self) -> MacReport:
        """Return what has been counted so far."""
        return MacReport(MappingProxyType(dict(self._counts)))

    def _record(self, flops: int) -> None:
        self._counts[self._running[-1]] += flops // 2


class _Interceptor(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Reports the FLOPs of every operator that has a formula, and runs the others in their parts."""

    def __init__(self, record: Callable[[int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self._record = record

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = _FLOPS.get(func.overloadpacket)
        if formula is None:
            # In inference mode linear layers and attention arrive whole; their parts have the formulas.
            with self:
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        self._record(formula(*args, **kwargs, out_val=result))
        return result
