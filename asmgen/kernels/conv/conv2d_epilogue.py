"""What happens to a convolution's sums before they are stored: pooling over windows of a tile, and the activation.

    max     y = f(max of the window), code = first position of the maximum in row-major order
    mean    y = mean of f(z) over the window, code = bit per position, set where z > 0
    none    y = f(z)

The activations fused here are monotone, so f(max z) = max f(z) needs only one f.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common.activations import activated
from asmgen.kernels.conv.conv2d_body import Accumulators
from asmgen.plan.layout import Image
from asmgen.plan.specs import Activation, Pool


@dataclass(frozen=True)
class Epilogue:
    """Pools, activates and stores tiles of sums into y, and codes where has_codes."""

    asm: Assembler
    y: Image
    act: Activation
    pool: Pool | None
    has_codes: bool

    def store(self, acc: Accumulators, y: Any, codes: Any, row: int = 0) -> None:
        """y, codes: registers at the tile's first pooled pixel and channel block. Overwrites the sums.

        row: of the tile, where y and codes are, for the notes.
        """
        ph, pw = (self.pool.ph, self.pool.pw) if self.pool else (1, 1)
        self.asm.comment(self.phase())
        for g in range(len(acc[0][0])):
            for h in range(len(acc) // ph):
                for w in range(len(acc[0]) // pw):
                    window = [acc[h * ph + r][w * pw + s][g] for r in range(ph) for s in range(pw)]
                    at = g * self.y.plane_bytes + h * self.y.row_bytes + w * self.y.pixel_bytes
                    pixel = (g * self.y.h + h) * self.y.w + w
                    place = f"[{g}][{row + h}][{w}]"
                    self._store_window(window, [y + at], codes and codes + pixel * self.y.code_pixel_bytes, place)
        self.asm.v.release_scratch()

    def phase(self) -> str:
        steps = [f"{self.pool.kind} over {self.pool.ph} x {self.pool.pw}"] if self.pool else []
        if self.act:
            steps.insert(1 if self.pool and self.pool.kind == "max" else 0, self.act.kind)
        return ", ".join([*steps, "store"])

    def _store_window(self, window: list[Any], y: Any, codes: Any, place: str) -> None:
        """place: the block of channels, row and column in the tile, for the notes."""
        v, asm = self.asm.v, self.asm
        spare = asm.vec.alloc("activated")
        code = asm.vec.alloc("code") if self.has_codes else None
        v.store(y, self.result(window, code, spare, window[0]))
        asm.note(f"y{place}")
        if code is not None:
            v.store_bytes(codes, code)
            asm.note(f"codes{place}")
            asm.vec.free(code)
        asm.vec.free(spare)

    def result(self, window: Iterable[Any], code: Any, spare: Any, total: Any) -> Any:
        """The register with the window's y: spare, its last one, or total (of a mean); code (or None) = its code.

        Overwrites the window's registers, one after the other. total: where a mean is summed; may be the first of them.
        """
        if code is not None:
            self.asm.v.zero(code)
        if self.pool and self.pool.kind == "avg":
            return self._mean(window, code, spare, total)
        return activated(self.asm, self.act, self._maximum(iter(window), code), spare)

    def _maximum(self, window: Iterator[Any], code: Any) -> Any:
        """The maximum, in the window's last register; a tie keeps the first position."""
        v, best = self.asm.v, next(window)
        for position, value in enumerate(window, 1):
            if code is not None:
                larger = v.mask_alloc("larger")
                v.less(larger, best, value)
                v.select(
                    code,
                    larger,
                    self.asm.integer_constant(f"position_{position}", position, "code of a position"),
                    code,
                )
                v.mask_free(larger)
            v.max(value, value, best)
            best = value
        return best

    def _mean(self, window: Iterable[Any], code: Any, spare: Any, total: Any) -> Any:
        """total = the mean of the activated values, and the live bits in code."""
        v, asm = self.asm.v, self.asm
        for position, value in enumerate(window):
            if code is not None:
                live = v.mask_alloc("live")
                v.zero(spare)
                v.less(live, spare, value)
                v.load(spare, asm.integer_constant(f"bit_{position}", 1 << position, "live bit of a position"))
                v.keep(spare, live, spare)
                v.or_(code, code, spare)
                v.mask_free(live)
            y = activated(asm, self.act, value, spare)
            if position:
                v.add(total, total, y)
            else:
                v.mov(total, y)
        v.mul(total, total, asm.vector_constant("share", 1 / (position + 1), f"1 / {position + 1}"))
        return total
