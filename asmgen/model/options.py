"""Options of a model file: the keyword parameters of its `model` function, set with `--set key=value`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from asmgen.errors import UsageError

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class OneOf(str):
    """A default that lists what an option may be: OneOf("adam", "sgd") is the string "adam"."""

    choices: tuple[str, ...]

    def __new__(cls, default: str, *others: str) -> OneOf:
        self = super().__new__(cls, default)
        self.choices = (default, *others)
        return self


def parse_options(path: str, function: Callable[..., Any], options: Mapping[str, str]) -> dict[str, Any]:
    """The texts of `options` as values of the types of the function's defaults.

    A parameter without a default, or one caught by `**options`, becomes an int or a float where it reads as one.
    Raises UsageError for an option the function does not have, a value of the wrong type, or a missing option.
    """
    known, takes_any = {}, False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            known[parameter.name] = parameter.default
    unknown = [key for key in options if key not in known]
    if unknown and not takes_any:
        raise UsageError(f"{path}: no option {unknown[0]!r} to set; {_listing(known)}")
    missing = [key for key, default in known.items() if default is inspect.Parameter.empty and key not in options]
    if missing:
        raise UsageError(f"{path}: needs --set {missing[0]}=...; {_listing(known)}")
    return {key: _parse(path, key, text, known.get(key)) for key, text in options.items()}


def _listing(known: Mapping[str, Any]) -> str:
    if not known:
        return "it has no options"
    return f"its options are {', '.join(f'{key}={_shown(default)}' for key, default in known.items())}"


def _shown(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "..."
    return "|".join(default.choices) if isinstance(default, OneOf) else str(default)


def _parse(path: str, key: str, text: str, default: Any) -> Any:
    try:
        match default:
            case OneOf():
                return default.choices[default.choices.index(text)]
            case bool():
                return _FLAGS[text.lower()]
            case int() | float():
                return type(default)(text)
            case str():
                return text
            case _:
                return _guess(text)
    except (ValueError, KeyError):
        raise UsageError(f"{path}: --set {key}={text}: must be {_expected(default)}") from None


def _expected(default: Any) -> str:
    if isinstance(default, OneOf):
        return "one of " + ", ".join(default.choices)
    return {bool: "true or false", int: "a whole number"}.get(type(default), "a number")


def _guess(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
