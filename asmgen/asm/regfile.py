"""Hands out physical registers under names and remembers who held what, for the register map of the listing."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Holding:
    """A register, the name it was taken under, and in which phase of the kernel ("": throughout)."""

    register: str
    name: str
    phase: str


class RegFile:
    """A file of physical registers; `alloc` takes the first free one in the given order.

    Raises RuntimeError when none is left, listing the holders: a tile that does not fit is a bug of choose_tile.
    """

    def __init__(self, kind: str, registers: list[Any]) -> None:
        self.kind = kind
        self._order = list(registers)
        self._free = list(registers)
        self._held: dict[str, str] = {}
        self.history: list[Holding] = []
        self.phase = ""

    def alloc(self, name: str) -> Any:
        """Take a free register and call it `name`."""
        if not self._free:
            holders = ", ".join(f"{reg}={name}" for reg, name in self._held.items())
            raise RuntimeError(f"no {self.kind} register left for {name!r}; held: {holders}")
        return self._take(self._free[0], name)

    def take(self, register: Any, name: str) -> Any:
        """Take this very register (an argument, or one an instruction fixes)."""
        if register not in self._free:
            raise RuntimeError(
                f"{self.kind} register {register} wanted for {name!r} is held: {self._held[str(register)]}"
            )
        return self._take(register, name)

    def reserve(self, register: Any, why: str) -> None:
        """Keep a register back without listing it in the map (arguments that are not named yet)."""
        self._free.remove(register)
        self._held[str(register)] = why

    def _take(self, register: Any, name: str) -> Any:
        self._free.remove(register)
        self._held[str(register)] = name
        self.history.append(Holding(str(register), name, self.phase))
        return register

    def free(self, *registers: Any) -> None:
        """Give registers back; the order of allocation stays stable."""
        for register in registers:
            del self._held[str(register)]
            self._free.append(register)
        self._free.sort(key=self._order.index)

    @contextmanager
    def lent(self, *registers: Any) -> Iterator[None]:
        """Registers that hold nothing for a while: free inside, taken again under their names afterwards."""
        names = [self._held[str(register)] for register in registers]
        self.free(*registers)
        yield
        for register, name in zip(registers, names, strict=True):
            self.take(register, name)

    def holder(self, register: Any) -> str:
        """The name that a register is held under now."""
        return self._held[str(register)]

    def n_free(self) -> int:
        return len(self._free)

    def names(self) -> list[str]:
        """The registers of the file, in order."""
        return [str(register) for register in self._order]

    def register_map(self, referenced: Container[str], phase: str | None = None) -> list[tuple[str, str]]:
        """(register, names it had, in order) of those in `referenced`, in register order; of one phase, or of all."""
        names: dict[str, list[str]] = {}
        for holding in self.history:
            if phase not in (None, holding.phase):
                continue
            held = names.setdefault(holding.register, [])
            if holding.name not in held:
                held.append(holding.name)
        return [(reg, " / ".join(names[reg])) for reg in self.names() if reg in names and reg in referenced]
