"""Weight gradient of a convolution: dw[oc,c,i,j] = sum over n,oh,ow of dz[n,oc,oh,ow] * x[n,c,oh*sh+i-pt,ow*sw+j-pl].

Lanes are output channels: vectors of dz are loaded, elements of x broadcast. A tile of dw (some channels, rows and
columns of taps, one or two oc vectors) is summed in registers over one part of dz; then the next tile sums over the
same part, which is still in L1. Between parts the sums rest in dw itself. Every element of dw is therefore one chain
over samples, rows and columns in ascending order, whatever the tile, the parts and the slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.window import add
from asmgen.plan.specs import Conv2dBackwardWeights
from asmgen.tile.conv2d_dw import Tile, choose_tile
from asmgen.tile.split import parts

_BIAS_CHAINS = 4  # independent sums per oc vector: hides the latency of the addition
_BIAS_COLUMNS = 8


def emit(spec: Conv2dBackwardWeights, isa: Isa) -> Listing:
    """The kernel of one shape: rdi x, rsi dz, rdx dw (overwritten), slice of blocks of V output channels."""
    return _Kernel(spec, isa, choose_tile(spec, isa)).emit()


class _Kernel:
    """Registers and loops of one kernel. Pointers advance and rewind by immediates; what must survive is held."""

    def __init__(self, spec: Conv2dBackwardWeights, isa: Isa, tile: Tile) -> None:
        self.spec, self.tile = spec, tile
        self.conv, self.x, self.dz, self.weights = spec.conv, spec.conv.x, spec.dz, spec.conv.weights
        self.asm = Assembler(isa, spec.dz.dtype, spec.symbol(isa.name))
        self.n_bands = -(-self.conv.oh // tile.band_rows)
        self.n_sample_groups = -(-self.x.n // tile.samples)

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            done = asm.label("done")
            self._take_registers()
            x86.SUB(self.n_blocks, self.begin)
            x86.JZ(done)
            self._seek_slice()
            self._clear_slice()
            self._sum_all_parts()
            asm.place(done)
        return asm.finish(self._facts())

    # set-up --------------------------------------------------------------------------------------------------------

    def _take_registers(self) -> None:
        asm = self.asm
        self.x_part, self.dz_part = asm.argument(0, "x of this part"), asm.argument(1, "dz of this part")
        self.dw_slice = asm.argument(2, "dw of the slice")
        self.begin, self.n_blocks = asm.argument(4, "begin"), asm.argument(5, "blocks in the slice")
        asm.release_arguments()
        self.temp = asm.gp.alloc("temporary")

    def _seek_slice(self) -> None:
        """Point at the slice's first block, and at the pixel of x under tap (0, 0) of output pixel (0, 0)."""
        asm, temp = self.asm, self.temp
        asm.comment("the slice's first output-channel block")
        x86.IMUL(temp, self.begin, self.dz.plane_bytes)
        x86.LEA(self.dz_part, [self.dz_part + temp * 1 + self.dz.offset_bytes()])
        add(self.x_part, self.x.offset_bytes(h=-self.conv.pt, w=-self.conv.pl))
        if self.conv.bias:
            self.db_slice = asm.gp.alloc("db of the slice")
            x86.IMUL(self.db_slice, self.begin, self.weights.tap_bytes)
            x86.LEA(self.db_slice, [self.db_slice + self.dw_slice * 1 + self.weights.bias_offset_bytes])
        x86.IMUL(temp, self.begin, self.weights.oc_block_bytes)
        x86.ADD(self.dw_slice, temp)
        asm.gp.free(self.begin)
        self.x_tap, self.x_at = asm.gp.alloc("x of this tile's first tap"), asm.gp.alloc("x")
        self.dz_block, self.dz_at = asm.gp.alloc("dz of these oc blocks"), asm.gp.alloc("dz")
        self.dw = asm.gp.alloc("dw")
        if self.conv.bias:
            self.db = asm.gp.alloc("db")

    def _clear_slice(self) -> None:
        asm = self.asm
        asm.comment("dw = 0 (and db = 0): the sums start here")
        zero = asm.vec.alloc("zero")
        asm.v.zero(zero)
        x86.MOV(self.dw, self.dw_slice)
        if self.conv.bias:
            x86.MOV(self.db, self.db_slice)
        x86.MOV(self.temp, self.n_blocks)
        with asm.loop("clear", "blocks", self.temp):
            with asm.loop("vector", self.weights.oc_block_bytes // self.weights.tap_bytes):
                asm.v.store([self.dw], zero)
                x86.ADD(self.dw, self.weights.tap_bytes)
            if self.conv.bias:
                asm.v.store([self.db], zero)
                x86.ADD(self.db, self.weights.tap_bytes)
        asm.vec.free(zero)

    # loops over parts of dz, oc blocks, tiles ----------------------------------------------------------------------

    def _sum_all_parts(self) -> None:
        """Outer loops: samples (or groups of small samples), bands of output rows."""
        asm, tile, conv = self.asm, self.tile, self.conv
        self.samples = _Share(asm, self.x.n, tile.samples, self.temp)
        self.rows = _Share(asm, conv.oh, tile.band_rows, self.temp)
        self.samples.restart()
        with asm.loop("n", self.n_sample_groups, on_stack=True):
            self.samples.next()
            self.rows.restart()
            with asm.loop("band", self.n_bands, on_stack=True):
                self.rows.next()
                self._sum_part()
                add(self.x_part, tile.band_rows * conv.sh * self.x.row_bytes)
                add(self.dz_part, tile.band_rows * self.dz.row_bytes)
            seen_rows = self.n_bands * tile.band_rows
            add(self.x_part, tile.samples * self.x.sample_bytes - seen_rows * conv.sh * self.x.row_bytes)
            add(self.dz_part, tile.samples * self.dz.sample_bytes - seen_rows * self.dz.row_bytes)

    def _sum_part(self) -> None:
        """All tiles of the slice over one part."""
        asm = self.asm
        x86.MOV(self.dz_block, self.dz_part)
        x86.MOV(self.dw, self.dw_slice)
        if self.conv.bias:
            x86.MOV(self.db, self.db_slice)
        for oc_vectors in range(self.tile.oc_vectors, 0, -1):
            x86.MOV(self.temp, self.n_blocks)
            if self.tile.oc_vectors == 2 and oc_vectors == 2:
                x86.SHR(self.temp, 1)
                trips, name = "blocks / 2", "pair"
            elif self.tile.oc_vectors == 2:
                x86.AND(self.temp, 1)
                trips, name = "blocks % 2", "odd"
            else:
                trips, name = "blocks", "oc"
            with asm.loop(name, trips, self.temp, on_stack=True):
                if self.conv.bias:
                    self._sum_bias(oc_vectors)
                    x86.ADD(self.db, oc_vectors * self.weights.tap_bytes)
                self._sum_oc_blocks(oc_vectors)
                x86.ADD(self.dz_block, oc_vectors * self.dz.plane_bytes)

    def _sum_oc_blocks(self, oc_vectors: int) -> None:
        """Loops over the tiles of one or two oc blocks: channels, kernel rows, kernel columns."""
        weights, tile, x = self.weights, self.tile, self.x
        x86.MOV(self.x_tap, self.x_part)

        def channels(n_channels: int) -> None:
            self._groups("i", weights.kh, tile.kernel_rows, lambda n_rows: kernel_rows(n_channels, n_rows))
            add(self.x_tap, -weights.kh * x.row_bytes)
            add(self.dw, (n_channels - 1) * weights.channel_bytes)
            self._next_channels(n_channels)

        def kernel_rows(n_channels: int, n_rows: int) -> None:
            self._groups("j", weights.kw, tile.kernel_cols, lambda n_cols: columns(n_channels, n_rows, n_cols))
            add(self.x_tap, n_rows * x.row_bytes - weights.kw * x.pixel_bytes)
            add(self.dw, (n_rows - 1) * weights.kw * weights.tap_bytes)

        def columns(n_channels: int, n_rows: int, n_cols: int) -> None:
            self._sum_tile(oc_vectors, n_channels, n_rows, n_cols)
            add(self.x_tap, n_cols * x.pixel_bytes)
            add(self.dw, n_cols * weights.tap_bytes)

        self._groups("c", weights.c, tile.channels, channels)
        add(self.dw, (oc_vectors - 1) * weights.oc_block_bytes)

    def _groups(self, name: str, total: int, size: int, body: Callable[[int], None]) -> None:
        """A loop over the full groups, then the remainder."""
        for count, extent in parts(total, size):
            with self.asm.loop(name, count, on_stack=True):
                body(extent)

    def _next_channels(self, n_channels: int) -> None:
        """Advance x to the next group of channels: inside its block, to the next block, or by whole blocks."""
        x = self.x
        if n_channels % x.block == 0:
            add(self.x_tap, n_channels // x.block * x.plane_bytes)
            return
        add(self.x_tap, n_channels * x.element_bytes)
        if x.n_c_blocks > 1 and x.block % n_channels == 0:
            same_block = self.asm.label("same_block")
            x86.TEST(self.x_tap, x.pixel_bytes - 1)
            self.asm.note("pixels are aligned to their size: at lane 0 again, the block is through")
            x86.JNZ(same_block)
            add(self.x_tap, x.plane_bytes - x.pixel_bytes)
            self.asm.place(same_block)

    # one tile over one part ----------------------------------------------------------------------------------------

    def _sum_tile(self, oc_vectors: int, n_channels: int, n_rows: int, n_cols: int) -> None:
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

        asm.comment(f"{n_channels} channels x {n_rows}x{n_cols} taps x {oc_vectors} oc vectors")
        for (o, c, i, j), register in acc.items():
            asm.v.load(register, [self.dw + weights.offset_bytes(o * weights.block, c, i, j)])
        self._walk(
            tile.columns,
            lambda n_columns: self._multiply(
                acc, window, broadcast, n_columns, (oc_vectors, n_channels, n_rows, n_cols)
            ),
            with_x=True,
        )
        for (o, c, i, j), register in acc.items():
            asm.v.store([self.dw + weights.offset_bytes(o * weights.block, c, i, j)], register)
        asm.vec.free(*acc.values(), *broadcast, *(register for column in window for register in column))

    def _walk(self, unroll: int, columns: Callable[[int], None], *, with_x: bool) -> None:
        """Run `columns(n)` over every output pixel of the part: samples, rows, n columns at a time."""
        asm, conv, x, dz = self.asm, self.conv, self.x, self.dz
        moving = [(self.dz_at, self.dz_block, 1, 1, dz)]
        if with_x:
            moving.append((self.x_at, self.x_tap, conv.sh, conv.sw, x))
        for pointer, start, *_ in moving:
            x86.MOV(pointer, start)
        with self.samples.loop("sample", on_stack=True):
            with self.rows.loop("row"):
                for count, n_columns in parts(conv.ow, unroll):
                    with asm.loop("column", count):
                        columns(n_columns)
                        for pointer, _, _, sw, image in moving:
                            add(pointer, n_columns * sw * image.pixel_bytes)
                for pointer, _, sh, sw, image in moving:
                    add(pointer, sh * image.row_bytes - conv.ow * sw * image.pixel_bytes)
            if self.tile.samples > 1:
                for pointer, _, sh, _, image in moving:
                    add(pointer, image.sample_bytes - conv.oh * sh * image.row_bytes)

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
            if window and offset == 0 and u_new < n_columns:
                for o, register in enumerate(window[u_new % len(window)][:oc_vectors]):
                    asm.v.load(register, [self.dz_at + o * dz.plane_bytes + u_new * dz.pixel_bytes])
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
                    asm.v.broadcast(element, [self.x_at + channel + i * x.row_bytes + q * x.pixel_bytes])
                    asm.note(f"x[channel {c}, row {i}, column {q}]")
                    for j, u in meeting:
                        for o in range(oc_vectors):
                            vector = (
                                window[u % len(window)][o]
                                if window
                                else [self.dz_at + o * dz.plane_bytes + u * dz.pixel_bytes]
                            )
                            asm.v.fma(acc[o, c, i, j], element, vector)

    def _sum_bias(self, oc_vectors: int) -> None:
        """db += the sum of dz over the part; this also brings the part into L1."""
        asm, dz = self.asm, self.dz
        chains = [
            [asm.vec.alloc(f"sum[oc {o}][column % {_BIAS_CHAINS} = {k}]") for k in range(_BIAS_CHAINS)]
            for o in range(oc_vectors)
        ]
        asm.comment(f"db of {oc_vectors} oc vectors")
        for sums in chains:
            for register in sums:
                asm.v.zero(register)

        def columns(n_columns: int) -> None:
            for u in range(n_columns):
                for o, sums in enumerate(chains):
                    register = sums[u % _BIAS_CHAINS]
                    asm.v.add(register, register, [self.dz_at + o * dz.plane_bytes + u * dz.pixel_bytes])

        self._walk(_BIAS_COLUMNS, columns, with_x=False)
        for o, sums in enumerate(chains):
            asm.v.add(sums[0], sums[0], sums[1])
            asm.v.add(sums[2], sums[2], sums[3])
            asm.v.add(sums[0], sums[0], sums[2])
            asm.v.add(sums[0], sums[0], [self.db + o * self.weights.tap_bytes])
            asm.v.store([self.db + o * self.weights.tap_bytes], sums[0])
            asm.vec.free(*sums)

    # header --------------------------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        conv, x, dz, weights, tile = self.conv, self.x, self.dz, self.weights, self.tile
        ctype = "f32" if dz.dtype == "float32" else "f64"
        over = f"n<{x.n}, oh<{conv.oh}, ow<{conv.ow}"
        row, column = _position("oh", conv.sh, "i", conv.pt), _position("ow", conv.sw, "j", conv.pl)
        shape = f"{weights.oc},{weights.c},{weights.kh},{weights.kw}"
        formula = [f"dw[{shape}][oc,c,i,j] = sum over {over} of dz[n,oc,oh,ow] * x[n,c,{row},{column}]"]
        if conv.bias:
            formula.append(f"db[{weights.oc}][oc] = sum over n, oh, ow of dz[n,oc,oh,ow]")
        return Facts(
            title=f"convolution {weights.kh}x{weights.kw}, gradient of the weights:"
            f" {x.c}x{x.h}x{x.w} -> {dz.c}x{dz.h}x{dz.w}",
            source="asmgen/kernels/conv2d_dw.py",
            formula=tuple(formula),
            arguments=(
                Argument("rdi", "x", ctype, str(x), "in", "halo is zero"),
                Argument("rsi", "dz", ctype, str(dz), "in", "pad lanes are zero"),
                Argument(
                    "rdx", "dw", ctype, str(weights) if conv.bias else str(weights).removesuffix(" + bias"), "out"
                ),
            ),
            slice_unit=f"blocks of {weights.block} output channels, of {weights.n_oc_blocks}",
            flops=self.spec.flops(),
            bytes_read=x.size_bytes + dz.size_bytes,
            bytes_written=weights.size_bytes if conv.bias else weights.bias_offset_bytes,
            tile=str(tile),
            notes=(
                "each column of x is broadcast once and meets the dz columns of all taps of the tile",
                "every element of dw is one chain over n, oh, ow in ascending order; between parts it rests in dw",
            ),
        )


class _Share:
    """How many of `total` items the current pass covers: `size`, or at the end what is left (then a stack slot)."""

    def __init__(self, asm: Assembler, total: int, size: int, temp: Any) -> None:
        self._asm, self._total, self._size, self._temp = asm, total, size, temp
        self._ragged = total % size != 0
        if self._ragged:
            self._left, self._now = asm.stack_slot(), asm.stack_slot()

    def restart(self) -> None:
        """Before the first pass."""
        if self._ragged:
            x86.MOV(self._left, self._total)

    def next(self) -> None:
        """At the top of a pass: now = min(size, left)."""
        if self._ragged:
            full = self._asm.label("full")
            x86.MOV(self._temp, self._size)
            x86.CMP(self._left, self._size)
            x86.JAE(full)
            x86.MOV(self._temp, self._left)
            self._asm.place(full)
            x86.MOV(self._now, self._temp)
            x86.SUB(self._left, self._size)

    def loop(self, name: str, *, on_stack: bool = False) -> Any:
        """A loop over the pass's items."""
        if not self._ragged:
            return self._asm.loop(name, self._size, on_stack=on_stack)
        x86.MOV(self._temp, self._now)
        return self._asm.loop(name, f"{self._size} or fewer", self._temp, on_stack=True)


def _position(name: str, stride: int, tap: str, pad: int) -> str:
    """`oh*2+i-1`"""
    return f"{name}{f'*{stride}' if stride > 1 else ''}+{tap}{f'-{pad}' if pad else ''}"
