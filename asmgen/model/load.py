"""Runs a model file and hands back its checked model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import CodeType
from typing import Any

from asmgen.errors import AsmgenError, ModelError, UsageError
from asmgen.model.network import Model
from asmgen.model.options import parse_options
from asmgen.model.trace import trace

_NO_MODEL = "defines no `model`; write model = Model(...) or a function model() that returns one"


def load_model(path: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Model:
    """The model that the file at `path` defines as `model`, or returns from `model(**options)`.

    Raises UsageError where the file does not exist or an option does not fit, ModelError (`file:line: ...`) where the
    file fails or its layers do not fit together.
    """
    name, options = os.fspath(path), options or {}
    code = _compile(name)
    namespace: dict[str, Any] = {"__name__": "model_file", "__file__": name}
    try:
        exec(code, namespace)
        model, what = namespace.get("model"), "`model` is"
        if callable(model) and not isinstance(model, type):
            model, what = model(**parse_options(name, model, options)), "model() returns"
        elif options:
            raise UsageError(f"{name}: has no options to set, since its `model` is not a function; leave --set out")
    except AsmgenError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(_failing_line(error, name), f"{type(error).__name__}: {_one_line(error)}") from error
    if not isinstance(model, Model):
        if "model" not in namespace:
            raise ModelError(name, _NO_MODEL)
        raise ModelError(name, f"{what} {_kind(model)}, not a Model(...)")
    trace(model)
    return model


def _compile(name: str) -> CodeType:
    try:
        with open(name, "rb") as file:
            return compile(file.read(), name, "exec", dont_inherit=True)
    except OSError as error:
        raise UsageError(f"{name}: cannot read the model file: {(error.strerror or str(error)).lower()}") from None
    except SyntaxError as error:
        raise ModelError(f"{name}:{error.lineno}" if error.lineno else name, f"syntax error: {error.msg}") from None
    except ValueError as error:  # a NUL byte, for one
        raise ModelError(name, f"not a Python file: {error}") from None


def _failing_line(error: BaseException, name: str) -> str:
    """`file:line` of the innermost frame of the traceback that lies in the model file."""
    where, traceback = name, error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == name:
            where = f"{name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _kind(value: object) -> str:
    if value is None:
        return "None"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
