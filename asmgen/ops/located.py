"""Every part of a model remembers the line of the model file that made it, so that errors can point there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from asmgen.errors import ModelError

_OWN_PACKAGES = ("asmgen.ops.", "asmgen.model.", "asmgen.graph.")


def caller() -> str:
    """`file:line` of the nearest stack frame outside these packages; the file as it was named when it was run."""
    frame = sys._getframe(1)
    # The `__init__` that a dataclass generates runs with the globals of the module that defines the class.
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_OWN_PACKAGES):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass(frozen=True, kw_only=True)
class Located:
    """Base of the parts of a model. `where` is `file:line`; it takes no part in equality or repr.

    Raises ModelError when a value is outside what the part allows; relations between parts are checked by
    `asmgen.model.trace.trace`.
    """

    where: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.where:
            object.__setattr__(self, "where", caller())
        self.check()

    def check(self) -> None:
        """Check each value alone. Raises ModelError."""

    def error(self, message: str) -> ModelError:
        """The ModelError for this part: `file:line: Class: message`."""
        return ModelError(self.where, f"{type(self).__name__}: {message}")

    def need_int(self, name: str, low: int, high: int) -> None:
        """Raise ModelError unless the field is an int in low..high."""
        self._in_range(name, getattr(self, name), low, high)

    def need_pair(self, name: str, low: int, high: int) -> None:
        """Raise ModelError unless the field is a pair (height, width) of ints in low..high."""
        value = getattr(self, name)
        if not isinstance(value, tuple) or len(value) != 2:
            raise self.error(f"{name}={value!r} must be a whole number or a pair (height, width)")
        for side in value:
            self._in_range(name, side, low, high)

    def need_sides(self, name: str, low: int, high: int) -> None:
        """Raise ModelError unless the field is a pair, or (top, bottom, left, right), of ints in low..high."""
        value = getattr(self, name)
        if not isinstance(value, tuple) or len(value) not in (2, 4):
            raise self.error(f"{name}={value!r} must be a whole number, a pair or (top, bottom, left, right)")
        for side in value:
            self._in_range(name, side, low, high)

    def need_number(self, name: str, low: float, high: float, *, below: bool = False, above: bool = False) -> None:
        """Raise ModelError unless the field is a number in low..high; `above`/`below`: without that end."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"{name}={value!r} must be a number")
        # Written so that NaN fails.
        if not ((low < value if above else low <= value) and (value < high if below else value <= high)):
            interval = f"{'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
            raise self.error(f"{name}={value!r} must lie in {interval}")

    def need_flag(self, name: str) -> None:
        """Raise ModelError unless the field is True or False."""
        if not isinstance(getattr(self, name), bool):
            raise self.error(f"{name}={getattr(self, name)!r} must be True or False")

    def need_instance(self, name: str, kind: type, examples: str) -> None:
        """Raise ModelError unless the field is an instance of `kind`; `examples` ends the message."""
        value = getattr(self, name)
        if isinstance(value, type) and issubclass(value, kind):
            raise self.error(f"{name}={value.__name__} is a class; write {value.__name__}()")
        if not isinstance(value, kind):
            raise self.error(f"{name}={value!r} must be {examples}")

    def _in_range(self, name: str, value: object, low: int, high: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{name}={value!r} must be a whole number")
        if not low <= value <= high:
            raise self.error(f"{name}={value} must lie in {low}..{high}")
