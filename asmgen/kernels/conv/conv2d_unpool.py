"""dz from dy behind a convolution: the gradient of its activation and of the pool that is fused with it.

Every pooled pixel's gradient is masked by the activation once, then written to all positions of its window: the
argmax code (or the live bits of an average) says which of them get it, the others get zeros.
"""

from __future__ import annotations

from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.pool.window_walk import CodeCursor, Cursor, Spreader, walk
from asmgen.plan.specs import Conv2dUnpool
from asmgen.tile.pool.pool import Tile, choose_unpool_tile


def emit(spec: Conv2dUnpool, isa: Isa, tile: Tile | None = None) -> Listing:
    """The kernel of one shape: rdi dy, rsi y, rdx codes, rcx dz (overwritten, halo untouched), slice of samples."""
    tile = tile or choose_unpool_tile(spec, isa)
    asm = Assembler(isa, spec.dz.dtype, spec.symbol(isa.name))
    ph, pw = (spec.pool.ph, spec.pool.pw) if spec.pool else (1, 1)
    masks_by_y, has_codes = spec.reads_y, spec.reads_codes
    with asm:
        dy = Cursor(asm, asm.argument(0, "dy"), spec.dy)
        dz = Cursor(asm, asm.argument(3, "dz"), spec.dz, ph, pw)
        cursors: list[Cursor | CodeCursor] = [dy, dz]
        if masks_by_y:
            y = Cursor(asm, asm.argument(1, "y"), spec.y)
            cursors.append(y)
        if has_codes:
            codes = CodeCursor(asm, asm.argument(2, "codes"), spec.y)
            cursors.append(codes)
        gradient = asm.vec.alloc("gradient of a pixel")
        derivative = _Derivative(asm, spec.act.alpha) if masks_by_y else None
        spread = Spreader(
            asm,
            is_max=has_codes and spec.pool is not None and spec.pool.kind == "max",
            has_codes=has_codes,
            alpha=spec.act.alpha,
            accumulate=False,
        )

        def pixels(n_columns: int) -> None:
            for column in range(n_columns):
                asm.v.load(gradient, [dy.at(column)])
                asm.note("dy: V channels of a pixel")
                if spec.pool and spec.pool.kind == "avg":
                    asm.v.mul(gradient, gradient, asm.vector_constant("share", 1 / (ph * pw), f"1 / {ph * pw}"))
                if derivative:
                    derivative(gradient, [y.at(column)])
                targets = [dz.at(column, r, s) for r in range(ph) for s in range(pw)]
                spread(gradient, codes.at(column) if has_codes else None, targets)

        walk(asm, spec.y, cursors, tile.columns, pixels)
    return asm.finish(_facts(spec, tile))


class _Derivative:
    """gradient *= f'(y): 1 where y > 0, elsewhere alpha."""

    def __init__(self, asm: Assembler, alpha: float) -> None:
        self._asm, self._alpha = asm, alpha
        self._zero, self._mask = asm.vec.alloc("zero"), asm.v.mask_alloc("y > 0")
        asm.v.zero(self._zero)
        if alpha:
            self._slope = asm.vec.alloc("gradient below zero")

    def __call__(self, gradient: Any, y: Any) -> None:
        v = self._asm.v
        v.less(self._mask, self._zero, y)
        self._asm.note("y > 0")
        if self._alpha:
            v.mul(self._slope, gradient, self._asm.vector_constant("alpha", self._alpha))
            v.select(gradient, self._mask, gradient, self._slope)
        else:
            v.keep(gradient, self._mask, gradient)


def _facts(spec: Conv2dUnpool, tile: Tile) -> Facts:
    pool, act = spec.pool, spec.act
    ctype = "f32" if spec.dz.dtype == "float32" else "f64"
    by_y, has_codes = spec.reads_y, spec.reads_codes
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    slope = f" * (y > 0 ? 1 : {act.alpha})" if act else ""
    where = "dz[n,c,h,w]" if pool is None else f"dz[n,c,h*{ph}+r,w*{pw}+s]"
    if pool is None:
        formula = f"{where} = dy[n,c,h,w]{slope}"
    elif pool.kind == "max":
        formula = f"{where} = (code[n,c,h,w] == r*{pw}+s) * dy[n,c,h,w]{slope}"
    else:
        live = f" * (bit r*{pw}+s of code[n,c,h,w] ? 1 : {act.alpha})" if act else ""
        formula = f"{where} = dy[n,c,h,w] / {ph * pw}{live}"
    arguments = [Argument("rdi", "dy", ctype, str(spec.dy), "in")]
    arguments.append(Argument("rsi", "y", ctype, str(spec.y), "in", "" if by_y else "not read"))
    codes = f"[{spec.y.n}][{spec.y.n_c_blocks}][{spec.y.h}][{spec.y.w}][{spec.y.block}]"
    arguments.append(Argument("rdx", "codes", "u8", codes, "in", "" if has_codes else "not read"))
    arguments.append(Argument("rcx", "dz", ctype, str(spec.dz), "out", "halo untouched"))
    return Facts(
        title=f"{spec.text}  {spec.y.c}x{spec.y.h}x{spec.y.w} -> {spec.dz.c}x{spec.dz.h}x{spec.dz.w}",
        source="asmgen/kernels/conv/conv2d_unpool.py",
        formula=(formula,),
        arguments=tuple(arguments),
        slice_unit=f"samples, 0..{spec.dz.n}",
        flops=spec.flops(),
        bytes_read=spec.dy.size_bytes
        + (spec.y.size_bytes if by_y else 0)
        + (spec.y.n * spec.y.code_sample_bytes if has_codes else 0),
        bytes_written=spec.dz.n * spec.dz.n_c_blocks * spec.dz.h * spec.dz.w * spec.dz.pixel_bytes,
        tile=str(tile),
        notes=("lanes are channels; pad lanes stay zero because dy's are",),
    )
