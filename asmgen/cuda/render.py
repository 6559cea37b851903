"""Decisions and facts -> the text of a `.cu` file, through the op's template under templates/cuda/."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
import numpy as np

from asmgen.cuda.listing import DEFAULT_SHARED_BYTES, Argument, CudaListing, Facts, Launch
from asmgen.paths import TEMPLATES_DIR

CTYPES = {"float32": "float", "float64": "double"}


def listing(
    template: str,
    symbol: str,
    dtype: str,
    launches: tuple[Launch, ...],
    facts: Facts,
    workspace_bytes: int = 0,
    **values: Any,
) -> CudaListing:
    """The listing whose text is `templates/cuda/<template>.cu.j2`, rendered with `values`.

    A template also sees symbol, launches, facts and T, the C++ type of an element.
    """
    for launch in launches:
        launch.check()
    text = (
        _environment()
        .get_template(f"{template}.cu.j2")
        .render(
            symbol=symbol,
            dtype=dtype,
            T=CTYPES[dtype],
            launches=launches,
            facts=facts,
            arguments=_rows(facts.arguments),
            names={argument.position: argument.name for argument in facts.arguments} | {"workspace": "workspace"},
            workspace_bytes=workspace_bytes,
            default_shared_bytes=DEFAULT_SHARED_BYTES,
            template=f"templates/cuda/{template}.cu.j2",
            **values,
        )
    )
    clean = "\n".join(line.rstrip() for line in text.split("\n"))
    return CudaListing(symbol, dtype, clean, launches, facts, workspace_bytes)


def literal(value: float, dtype: str) -> str:
    """A C++ literal that is exactly the value rounded to the dtype: with the fewest digits that do it."""
    value += 0.0  # no negative zero
    number = np.float32(value) if dtype == "float32" else np.float64(value)
    digits = np.format_float_positional(number, unique=True, trim="0")
    if value and not 1e-4 <= abs(value) < 1e9:
        digits = np.format_float_scientific(number, unique=True, trim="0")
    return digits + ("f" if dtype == "float32" else "")


def _rows(arguments: tuple[Argument, ...]) -> list[str]:
    """The arguments as a table."""
    rows = [(a.position, a.name, a.layout, a.direction, a.note) for a in arguments]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES_DIR / "cuda"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["grouped"] = lambda number: f"{number:,}".replace(",", " ")
    environment.filters["bool"] = lambda value: "true" if value else "false"
    return environment
