"""Fields of layers that take n or (height, width)."""

from __future__ import annotations

from typing import Any, overload

from asmgen.ops.base import Pair


class PairField:
    """A dataclass field that takes n or (height, width) and reads as (height, width)."""

    def __init__(self, *default: int | None) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Any: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Pair: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is not None:
            return vars(instance)[self._name]
        if not self._default:
            raise AttributeError(self._name)  # tells dataclass that the field has no default
        return self._default[0]

    def __set__(self, instance: object, value: int | Pair | None) -> None:
        # Anything else is stored as it is, for the layer's check to refuse with its line.
        vars(instance)[self._name] = as_pair(value)


def as_pair(value: object) -> object:
    """(n, n) for an int n, a tuple for a list; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    return tuple(value) if isinstance(value, list) else value


def size(pair: Pair) -> str:
    """(3, 5) as "3x5", height first."""
    return f"{pair[0]}x{pair[1]}"


def spell(pair: tuple[int, ...]) -> str:
    """A pair as the shortest argument that means it: (1, 1) as "1", (1, 2) as "(1, 2)"."""
    return str(pair[0]) if pair[0] == pair[1] else str(pair)
