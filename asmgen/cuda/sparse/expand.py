"""The gradient dz of a convolution's output behind a max pool, made in shared memory (docs/cuda.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asmgen.cuda.common.strides import Strides
from asmgen.cuda.listing import Argument
from asmgen.plan.layout import NO_HALO, Image
from asmgen.plan.specs import Pool, dtype_tag


@dataclass(frozen=True)
class Expansion:
    """Where the pooled gradient and its codes lie, in elements, and the window that each of them stands for."""

    dy: Strides
    codes: Strides
    window_h: int
    window_w: int
    rest: int  # pixels of a block of K behind the windows that it has place for

    @staticmethod
    def of(dy: Image, pool: Pool) -> Expansion:
        codes = Strides.of(replace(dy, halo=NO_HALO))
        return Expansion(Strides.of(dy), codes, pool.ph, pool.pw, dy.block % (pool.ph * pool.pw))


def arguments(dy: Image, first: int) -> tuple[Argument, Argument]:
    """dy and codes, from argument number `first`."""
    codes = f"u8 [{dy.n}][{dy.n_c_blocks}][{dy.h}][{dy.w}][{dy.block}]"
    return (
        Argument(f"a{first}", "dy", f"{dtype_tag(dy.dtype)} {dy}", "in"),
        Argument(f"a{first + 1}", "codes", codes, "in"),
    )


def formula(pool: Pool) -> str:
    """What dz stands for."""
    row, column = (f"h/{pool.ph}" if pool.ph > 1 else "h"), (f"w/{pool.pw}" if pool.pw > 1 else "w")
    at = f"n,o,{row},{column}"
    return f"dz[n,o,h,w] = code[{at}] == (h%{pool.ph})*{pool.pw} + w%{pool.pw} ? dy[{at}] : 0"


def bytes_read(dy: Image) -> int:
    """Of dy and its codes, once."""
    return dy.size_bytes + dy.n * dy.code_sample_bytes
