"""The inner bodies of the weight gradient: one tile of dw, and db, summed over one part of dz."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.kernels.common.loops import Share
from asmgen.plan.layout import LINE_BYTES, Image
from asmgen.plan.specs import Conv2dBackwardWeights
from asmgen.tile.common.count_text import advance, counted
from asmgen.tile.common.remainder import parts
from asmgen.tile.conv.conv2d_dw import Tile

_BIAS_CHAINS = 4  # independent sums per oc vector: hides the latency of the addition
_BIAS_COLUMNS = 8
_PREFETCH_BYTES = 2048  # how far ahead of its use dz is fetched


@dataclass(frozen=True)
class Pointers:
    """General-purpose registers. x_tap, dz_block: where the part begins for a tile; x_at, dz_at walk over it."""

    x_tap: Any
    x_at: Any
    dz_block: Any
    dz_at: Any
    dw: Any
    db: Any  # None without bias


class TileSums:
    """Emits sums over the part of dz that the pointers and shares describe; all pointers but x_at, dz_at are kept.

    x: the layout of what x_tap points into, the tensor or a strip of it.
    """

    def __init__(
        self,
        asm: Assembler,
        spec: Conv2dBackwardWeights,
        x: Image,
        tile: Tile,
        at: Pointers,
        samples: Share,
        rows: Share,
    ) -> None:
        self.asm, self.tile, self.at, self.samples, self.rows = asm, tile, at, samples, rows
        self.conv, self.x, self.dz, self.weights = spec.conv, x, spec.dz, spec.conv.weights

    def sum_tile(self, oc_vectors: int, n_channels: int, n_rows: int, n_cols: int) -> None:
        """Load the accumulators, add this part's products, store them."""
        asm, tile, weights = self.asm, self.tile, self.weights
        places = [
            (o, c, i, j)
            for o in range(oc_vectors)
            for c in range(n_channels)
            for i in range(n_rows)
            for j in range(n_cols)
        ]
        acc = {place: asm.vec.alloc("acc[oc {}][c {}][tap {},{}]".format(*place)) for place in places}
        window: list[list[Any]] = []
        if tile.dz_in_registers:
            window = [
                [asm.vec.alloc(f"dz[column % {tile.window} = {u}][oc {o}]") for o in range(oc_vectors)]
                for u in range(tile.window)
            ]
        n_spare = asm.vec.n_free() - (1 if asm.v.needs_scratch() else 0)
        broadcast = [asm.vec.alloc(f"x broadcast {b}") for b in range(min(4, n_spare))]

        counts = f"{counted(n_channels, 'channel')} x {n_rows}x{n_cols} taps x {counted(oc_vectors, 'oc vector')}"
        asm.comment(f"{counts}: the sums so far")
        for (o, c, i, j), register in acc.items():
            asm.v.load(register, [self.at.dw + weights.offset_bytes(o * weights.block, c, i, j)])
        self._walk(
            tile.columns,
            lambda n_columns: self._multiply(
                acc, window, broadcast, n_columns, (oc_vectors, n_channels, n_rows, n_cols)
            ),
            with_x=True,
        )
        asm.comment("the sums rest until the next part")
        for (o, c, i, j), register in acc.items():
            asm.v.store([self.at.dw + weights.offset_bytes(o * weights.block, c, i, j)], register)
        asm.vec.free(*acc.values(), *broadcast, *(register for column in window for register in column))

    def _walk(self, unroll: int, columns: Callable[[int], None], *, with_x: bool) -> None:
        """Run `columns(n)` over every output pixel of the part: samples, rows, n columns at a time."""
        asm, conv, x, dz = self.asm, self.conv, self.x, self.dz
        moving = [(self.at.dz_at, self.at.dz_block, 1, 1, dz)]
        if with_x:
            moving.append((self.at.x_at, self.at.x_tap, conv.sh, conv.sw, x))
        for pointer, start, *_ in moving:
            x86.MOV(pointer, start)
        with self.samples.loop("sample", on_stack=True):
            with self.rows.loop("row"):
                for count, n_columns in parts(conv.ow, unroll):
                    asm.comment(f"{count} x {n_columns} output columns")
                    with asm.loop("column", count):
                        columns(n_columns)
                        for pointer, _, _, sw, image in moving:
                            asm.move(
                                pointer,
                                n_columns * sw * image.pixel_bytes,
                                f"{asm.name_of(pointer)}: {advance(n_columns * sw, 'pixel')}",
                            )
                for pointer, _, sh, sw, image in moving:
                    asm.move(
                        pointer,
                        sh * image.row_bytes - conv.ow * sw * image.pixel_bytes,
                        f"{asm.name_of(pointer)}: {advance(sh, 'row')} + halo, first column",
                    )
            if self.tile.samples > 1:
                for pointer, _, sh, _, image in moving:
                    asm.move(
                        pointer,
                        image.sample_bytes - conv.oh * sh * image.row_bytes,
                        f"{asm.name_of(pointer)}: next sample",
                    )

    def _multiply(
        self,
        acc: dict[Any, Any],
        window: list[list[Any]],
        broadcast: list[Any],
        n_columns: int,
        extents: tuple[int, ...],
    ) -> None:
        """acc += dz * x for n_columns output columns, in the order of the columns of x: each is broadcast once.

        Column q of x meets column u of dz at tap j where q = u * sw + j.
        """
        asm, conv, x, dz = self.asm, self.conv, self.x, self.dz
        oc_vectors, n_channels, n_rows, n_cols = extents
        turn = 0
        for q in range((n_columns - 1) * conv.sw + n_cols):
            u_new, offset = divmod(q, conv.sw)
            is_new = offset == 0 and u_new < n_columns
            if is_new and u_new * dz.pixel_bytes % LINE_BYTES == 0:
                for o in range(oc_vectors):
                    x86.PREFETCHT0([self.at.dz_at + o * dz.plane_bytes + u_new * dz.pixel_bytes + _PREFETCH_BYTES])
            if window and is_new:
                for o, register in enumerate(window[u_new % len(window)][:oc_vectors]):
                    asm.v.load(register, [self.at.dz_at + o * dz.plane_bytes + u_new * dz.pixel_bytes])
                    asm.note(f"dz[oc block {o}, column {u_new}]: V output channels")
            meeting = [
                (j, (q - j) // conv.sw)
                for j in range(n_cols)
                if (q - j) % conv.sw == 0 and 0 <= (q - j) // conv.sw < n_columns
            ]
            if not meeting:
                continue
            for i in range(n_rows):
                for c in range(n_channels):
                    element = broadcast[turn % len(broadcast)]
                    turn += 1
                    channel = x.offset_bytes(c=c) - x.offset_bytes()
                    asm.v.broadcast(element, [self.at.x_at + channel + i * x.row_bytes + q * x.pixel_bytes])
                    asm.note(f"x[channel {c}, row {i}, column {q}]")
                    for j, u in meeting:
                        for o in range(oc_vectors):
                            vector = (
                                window[u % len(window)][o]
                                if window
                                else [self.at.dz_at + o * dz.plane_bytes + u * dz.pixel_bytes]
                            )
                            asm.v.fma(acc[o, c, i, j], element, vector)

    def sum_bias(self, oc_vectors: int) -> None:
        """db += the sum of dz over the part, which the tiles have left in cache."""
        asm, dz = self.asm, self.dz
        chains = [
            [asm.vec.alloc(f"sum[oc {o}][column % {_BIAS_CHAINS} = {k}]") for k in range(_BIAS_CHAINS)]
            for o in range(oc_vectors)
        ]
        asm.comment(f"db of {oc_vectors} oc vectors, in {_BIAS_CHAINS} chains")
        for sums in chains:
            for register in sums:
                asm.v.zero(register)

        def columns(n_columns: int) -> None:
            for u in range(n_columns):
                for o, sums in enumerate(chains):
                    register = sums[u % _BIAS_CHAINS]
                    asm.v.add(register, register, [self.at.dz_at + o * dz.plane_bytes + u * dz.pixel_bytes])

        self._walk(_BIAS_COLUMNS, columns, with_x=False)
        for o, sums in enumerate(chains):
            asm.v.add(sums[0], sums[0], sums[1])
            asm.v.add(sums[2], sums[2], sums[3])
            asm.v.add(sums[0], sums[0], sums[2])
            asm.v.add(sums[0], sums[0], [self.at.db + o * self.weights.tap_bytes])
            asm.v.store([self.at.db + o * self.weights.tap_bytes], sums[0])
            asm.vec.free(*sums)
