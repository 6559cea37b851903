"""Pooling over any window and stride, forward and backward; lanes are channels.

y[n,c,h,w] = max or mean of x[n,c,h*sh+r,w*sw+s] over r < ph, s < pw. The maximum's position r*pw+s is kept as a u8
code (ties: the first in row-major order), which is all that the backward pass needs.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.pool.window_walk import CodeCursor, Cursor, Spreader, walk
from asmgen.plan.layout import Image
from asmgen.plan.specs import Pool, PoolBackward, PoolForward
from asmgen.tile.pool.pool import Tile, choose_backward_tile, choose_forward_tile


def emit_forward(spec: PoolForward, isa: Isa, tile: Tile | None = None) -> Listing:
    """The kernel of one shape: rdi x, rsi y (overwritten), rdx codes (where the spec has them), samples."""
    pool, tile = spec.pool, tile or choose_forward_tile(spec, isa)
    asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
    with asm:
        x = Cursor(asm, asm.argument(0, "x"), spec.x, pool.sh, pool.sw)
        y = Cursor(asm, asm.argument(1, "y"), spec.y)
        if spec.has_codes:
            codes = CodeCursor(asm, asm.argument(2, "codes"), spec.y)
            maximum = _Maximum(asm, pool, tile, x, y, codes)
            walk(asm, spec.y, (x, y, codes), tile.columns, maximum.pixels)
        elif pool.kind == "max":
            largest = _Largest(asm, pool, tile, x, y)
            walk(asm, spec.y, (x, y), tile.columns, largest.pixels)
        else:
            mean = _Mean(asm, pool, tile, x, y)
            walk(asm, spec.y, (x, y), tile.columns, mean.pixels)
    return asm.finish(_forward_facts(spec, tile))


class _Maximum:
    """The maximum and its position, of several pixels in step."""

    def __init__(self, asm: Assembler, pool: Pool, tile: Tile, x: Cursor, y: Cursor, codes: CodeCursor) -> None:
        self._asm, self._pool, self._x, self._y, self._codes = asm, pool, x, y, codes
        self._best = [asm.vec.alloc(f"maximum[{column}]") for column in range(tile.columns)]
        self._code = [asm.vec.alloc(f"code[{column}]") for column in range(tile.columns)]
        self._value, self._position = asm.vec.alloc("x at the position"), asm.vec.alloc("position in integer lanes")
        self._one, self._mask = asm.vec.alloc("1 in integer lanes"), asm.v.mask_alloc("larger")
        asm.v.load(self._one, asm.integer_constant("integer_one", 1))

    def pixels(self, n_columns: int) -> None:
        v, pool = self._asm.v, self._pool
        v.zero(self._position)
        for column in range(n_columns):
            v.load(self._best[column], [self._x.at(column)])
            v.zero(self._code[column])
        for position in range(1, pool.ph * pool.pw):
            r, s = divmod(position, pool.pw)
            v.integer_add(self._position, self._position, self._one)
            for column in range(n_columns):
                best, code = self._best[column], self._code[column]
                v.load(self._value, [self._x.at(column, r, s)])
                v.less(self._mask, best, self._value)
                self._asm.note("only a larger element replaces the first maximum")
                v.max(best, best, self._value)
                v.select(code, self._mask, self._position, code)
        for column in range(n_columns):
            v.store([self._y.at(column)], self._best[column])
            v.store_bytes(self._codes.at(column), self._code[column])


class _Largest:
    """The maximum of several pixels' windows, without its position."""

    def __init__(self, asm: Assembler, pool: Pool, tile: Tile, x: Cursor, y: Cursor) -> None:
        self._asm, self._pool, self._x, self._y = asm, pool, x, y
        self._best = [asm.vec.alloc(f"maximum[{column}]") for column in range(tile.columns)]

    def pixels(self, n_columns: int) -> None:
        v, pool = self._asm.v, self._pool
        for column in range(n_columns):
            v.load(self._best[column], [self._x.at(column)])
        for position in range(1, pool.ph * pool.pw):
            for column in range(n_columns):
                best = self._best[column]
                v.max(best, best, [self._x.at(column, *divmod(position, pool.pw))])
        for column in range(n_columns):
            v.store([self._y.at(column)], self._best[column])


class _Mean:
    """The mean of several pixels' windows, summed in row-major order."""

    def __init__(self, asm: Assembler, pool: Pool, tile: Tile, x: Cursor, y: Cursor) -> None:
        self._asm, self._pool, self._x, self._y = asm, pool, x, y
        self._sum = [asm.vec.alloc(f"sum[{column}]") for column in range(tile.columns)]

    def pixels(self, n_columns: int) -> None:
        v, pool = self._asm.v, self._pool
        for column in range(n_columns):
            v.load(self._sum[column], [self._x.at(column)])
        for position in range(1, pool.ph * pool.pw):
            for column in range(n_columns):
                total = self._sum[column]
                v.add(total, total, [self._x.at(column, *divmod(position, pool.pw))])
        for column in range(n_columns):
            v.mul(self._sum[column], self._sum[column], _share(self._asm, pool))
            v.store([self._y.at(column)], self._sum[column])


def emit_backward(spec: PoolBackward, isa: Isa, tile: Tile | None = None) -> Listing:
    """The kernel of one shape: rdi dy, rsi codes (max only), rdx dx (overwritten, halo untouched), slice of samples."""
    pool, tile = spec.pool, tile or choose_backward_tile(spec, isa)
    asm = Assembler(isa, spec.dx.dtype, spec.symbol(isa.name))
    is_max = pool.kind == "max"
    with asm:
        dy = Cursor(asm, asm.argument(0, "dy"), spec.dy)
        dx = Cursor(asm, asm.argument(2, "dx"), spec.dx, pool.sh, pool.sw)
        cursors: list[Cursor | CodeCursor] = [dy, dx]
        if is_max:
            codes = CodeCursor(asm, asm.argument(1, "codes"), spec.dy)
            cursors.append(codes)
        gradient = asm.vec.alloc("gradient of a pixel")
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        spread = Spreader(asm, is_max=is_max, has_codes=is_max, alpha=0.0, accumulate=not pool.is_tiling)

        def pixels(n_columns: int) -> None:
            for column in range(n_columns):
                asm.v.load(gradient, [dy.at(column)])
                asm.note("dy: V channels of a pixel")
                if not is_max:
                    asm.v.mul(gradient, gradient, _share(asm, pool))
                targets = [dx.at(column, r, s) for r in range(pool.ph) for s in range(pool.pw)]
                spread(gradient, codes.at(column) if is_max else None, targets)

        walk(asm, spec.dy, cursors, tile.columns, pixels, lambda: _clear(asm, dx, zero, _uncovered(spec)))
    return asm.finish(_backward_facts(spec, tile))


def _share(asm: Assembler, pool: Pool) -> Any:
    size = pool.ph * pool.pw
    return asm.vector_constant("share", 1 / size, f"1 / {size}")


def _uncovered(spec: PoolBackward) -> list[tuple[int, int, int, int]]:
    """Rectangles (h, w, rows, columns) of dx to clear first: what touching windows do not write, or everything."""
    dx, pool = spec.dx, spec.pool
    h, w = (spec.dy.h * pool.ph, spec.dy.w * pool.pw) if pool.is_tiling else (0, 0)
    rectangles = [(0, w, h, dx.w - w), (h, 0, dx.h - h, dx.w)]
    return [rectangle for rectangle in rectangles if rectangle[2] and rectangle[3]]


def _clear(asm: Assembler, dx: Cursor, zero: Any, rectangles: list[tuple[int, int, int, int]]) -> None:
    """Zeros into rectangles of the current plane."""
    image = dx.image
    if not rectangles:
        return
    pointer = asm.gp.alloc("dx to clear")
    for h, w, n_rows, n_columns in rectangles:
        asm.comment(f"0 into rows {h}..{h + n_rows - 1}, columns {w}..{w + n_columns - 1}")
        x86.LEA(pointer, [dx.at(0, h, w)] if h or w else [dx.pointer])
        with asm.loop("clear", n_rows):
            with asm.loop("column", n_columns):
                asm.v.store([pointer], zero)
                asm.move(pointer, image.pixel_bytes, "dx: next pixel")
            asm.move(pointer, image.row_bytes - n_columns * image.pixel_bytes, "dx: next row + halo, first column")
    asm.gp.free(pointer)


def _ctype(image: Image) -> str:
    return "f32" if image.dtype == "float32" else "f64"


def _codes(image: Image) -> str:
    return f"[{image.n}][{image.n_c_blocks}][{image.h}][{image.w}][{image.block}]"


def _interior_bytes(image: Image) -> int:
    return image.n * image.n_c_blocks * image.h * image.w * image.pixel_bytes


def _forward_facts(spec: PoolForward, tile: Tile) -> Facts:
    x, y, pool = spec.x, spec.y, spec.pool
    element = f"x[n,c,h*{pool.sh}+r,w*{pool.sw}+s]"
    is_max = pool.kind == "max"
    formula = [
        f"y[n,c,h,w] = {'max' if is_max else f'1/{tile.positions} sum'} over r<{pool.ph}, s<{pool.pw} of {element}"
    ]
    arguments = [
        Argument("rdi", "x", _ctype(x), str(x), "in"),
        Argument("rsi", "y", _ctype(y), str(y), "out", "halo untouched" if y.halo else ""),
    ]
    if spec.has_codes:
        formula.append(f"code[n,c,h,w] = r*{pool.pw}+s of the first maximum in row-major order")
        arguments.append(Argument("rdx", "codes", "u8", _codes(y), "out"))
    return Facts(
        title=f"{spec.text}  {x.c}x{x.h}x{x.w} -> {y.c}x{y.h}x{y.w}",
        source="asmgen/kernels/pool/pool.py",
        formula=tuple(formula),
        arguments=tuple(arguments),
        slice_unit=f"samples, 0..{x.n}",
        flops=spec.flops(),
        bytes_read=_interior_bytes(x),
        bytes_written=_interior_bytes(y) + (y.n * y.code_sample_bytes if spec.has_codes else 0),
        tile=str(tile),
    )


def _backward_facts(spec: PoolBackward, tile: Tile) -> Facts:
    dy, dx, pool = spec.dy, spec.dx, spec.pool
    is_max = pool.kind == "max"
    what = f"(code[n,c,h,w] == r*{pool.pw}+s) * dy[n,c,h,w]" if is_max else f"dy[n,c,h,w] / {tile.positions}"
    arguments = [Argument("rdi", "dy", _ctype(dy), str(dy), "in")]
    if is_max:
        arguments.append(Argument("rsi", "codes", "u8", _codes(dy), "in"))
    arguments.append(Argument("rdx", "dx", _ctype(dx), str(dx), "out", "halo untouched" if dx.halo else ""))
    note = (
        "windows do not overlap: every position is written once, what lies in no window is cleared first"
        if pool.is_tiling
        else "dx is cleared plane by plane, then every window adds its part, in row-major order of the windows"
    )
    return Facts(
        title=f"{spec.text}  {dy.c}x{dy.h}x{dy.w} -> {dx.c}x{dx.h}x{dx.w}",
        source="asmgen/kernels/pool/pool.py",
        formula=(f"dx[n,c,h*{pool.sh}+r,w*{pool.sw}+s] {'=' if pool.is_tiling else '+='} {what}",),
        arguments=tuple(arguments),
        slice_unit=f"samples, 0..{dx.n}",
        flops=spec.flops(),
        bytes_read=_interior_bytes(dy) + (dy.n * dy.code_sample_bytes if is_max else 0),
        bytes_written=_interior_bytes(dx),
        tile=str(tile),
        notes=(note,),
    )
