"""Fields of a dataclass, held to their types and ranges, wherever the values come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dynamicvit.errors import SettingError

Ranges = Mapping[str, tuple[float, float]]


def known_fields(kind: type[Any], data: object) -> dict[str, Any]:
    """Return the fields of a dataclass that JSON data gives.

    Raises:
        SettingError: the data is no object, or has a field that the dataclass has not.
    """
    if not isinstance(data, Mapping):
        raise SettingError(f"A model description is an object with named fields; got {data!r:.80}.")
    known = {field.name for field in fields(kind) if field.init}
    unknown = [name for name in data if name not in known]
    if unknown:
        raise SettingError(f"A model description has no field {unknown[0]!r:.80}.")
    return dict(data)


def check_fields(config: Any, ranges: Ranges) -> None:
    """Bring the fields of a frozen dataclass to their types: whole numbers to fractions, and lists to tuples.

    Fields that nobody can set, because they follow from others, are left alone.

    Args:
        ranges: lowest and highest value, of the fields that have them.

    Raises:
        SettingError: a value is of another type, or out of its range.
    """
    kinds = get_type_hints(type(config))
    for name in (field.name for field in fields(config) if field.init):
        kind, value = kinds[name], getattr(config, name)
        try:
            value = _typed(kind, value)
        except (TypeError, ValueError, OverflowError):
            raise SettingError(f"{name} must be {_described(kind)}; got {value!r:.80}.") from None
        if name in ranges:
            low, high = ranges[name]
            for number in value if isinstance(value, tuple) else (value,):
                if not low <= number <= high:
                    raise SettingError(f"{name} must be from {low:g} to {high:g}; got {number}.")
        object.__setattr__(config, name, value)


def _typed(kind: Any, value: Any) -> Any:
    """Return a value as a field of that type holds it: a whole number may stand for a fraction, a list for a tuple."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, list | tuple):
            raise TypeError
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return tuple(_typed(one, entry) for one, entry in zip(kinds, value, strict=True))
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise TypeError
        return float(value)
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError
        return int(value)
    if value not in get_args(kind) if get_origin(kind) is Literal else not isinstance(value, kind):
        raise TypeError
    return value


def _described(kind: Any) -> str:
    if get_origin(kind) is tuple:
        count = "" if get_args(kind)[-1] is Ellipsis else f"{len(get_args(kind))} "
        return f"a list of {count}{'whole' if get_args(kind)[0] is int else 'finite'} numbers"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return {float: "a finite number", int: "a whole number", bool: "true or false"}.get(kind, f"a {kind.__name__}")
