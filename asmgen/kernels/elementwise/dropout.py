"""Dropout: y = x times a mask of 1 / (1 - p) and 0 that Philox draws; dx of dy is the same kernel.

Lanes are channels. A drawing gives four words a channel, those of four pixels side by side (asmgen/ops/dropout.py).
A value stays where the upper 23 bits of its word, taken from p 2^23 - 1, leave a negative number.
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.philox import KEY_BYTES, Philox
from asmgen.ops.dropout import STREAM
from asmgen.plan.layout import Activations, Image
from asmgen.plan.specs import Dropout, dtype_tag

_SEED_AT, _STEP_AT = 16, 24  # in the loss block
_WORDS = 4  # of a drawing


def emit(spec: Dropout, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi loss block, rdx y (may be x; overwritten but for its halo); samples."""
    return _Kernel(spec, isa).emit()


class _Kernel:
    """One emission: the frame's constants, the loops, the drawing of a group of four pixels."""

    def __init__(self, spec: Dropout, isa: Isa) -> None:
        self.spec, self.isa = spec, isa
        self.asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
        self.width = isa.vector_bytes
        x = spec.x
        self.h, self.w = (x.h, x.w) if isinstance(x, Image) else (1, 1)
        self.c = x.c if isinstance(x, Image) else x.features
        self.n_blocks = x.n_c_blocks if isinstance(x, Image) else x.n_vectors
        self.groups = -(-self.w // _WORDS)
        self.halves = 2 if self.asm.element_bytes == 4 else 1  # drawings of a vector: even and odd lanes

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            self.x, loss, self.y = asm.argument(0, "x"), asm.argument(1, "loss block"), asm.argument(2, "y")
            begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
            asm.release_arguments()
            self.keys = asm.scratch(KEY_BYTES)
            self.step, self.sample, self.place = (asm.scratch(64) for _ in range(3))
            self.masks = asm.scratch(_WORDS * 64)
            self.philox = Philox(asm, self.keys)
            self.spare, self.most = asm.vec.alloc("temporary"), asm.vec.alloc("p 2^23 - 1")
            self.philox.key(loss + _SEED_AT)
            self._open(loss, begin, left)
            asm.v.load(self.most, asm.integer_constant("most", self.spec.layer.least - 1, "values that go"))
            self._samples(begin, left)
        return asm.finish(self._facts())

    def _open(self, loss: Any, begin: Any, left: Any) -> None:
        asm, spec = self.asm, self.spec
        word = asm.gp.alloc("word")
        x86.MOV(word.as_dword, [loss + _STEP_AT])
        x86.MOV([self.step], word)
        asm.v.broadcast(self.spare, [self.step])
        asm.v.store([self.step], self.spare)
        asm.note("the step, in every lane")
        asm.comment("the first element of the slice's first sample")
        for pointer, layout in ((self.x, spec.x), (self.y, spec.y)):
            x86.IMUL(word, begin, layout.sample_bytes)
            x86.LEA(pointer, [pointer + word * 1 + _first(layout)])
        x86.SUB(left, begin)
        asm.gp.free(word, loss)

    def _samples(self, begin: Any, left: Any) -> None:
        asm, spec = self.asm, self.spec
        counter = asm.gp.alloc("counter of lane 0")
        with asm.loop("n", "samples in the slice", left):
            x86.MOV([self.sample], begin)
            asm.v.broadcast(self.spare, [self.sample])
            asm.v.store([self.sample], self.spare)
            asm.note("the sample, in every lane")
            x86.XOR(counter.as_dword, counter.as_dword)
            with asm.loop("c", self.n_blocks):
                with asm.loop("h", self.h):
                    self._row(counter)
                    for pointer, layout in ((self.x, spec.x), (self.y, spec.y)):
                        asm.move(pointer, _row_bytes(layout) - self.w * self.width, f"{asm.name_of(pointer)}: next row")
                asm.move(counter, asm.lanes - self.h * self.groups * self.c, "counter: next block of channels")
                for pointer, layout in ((self.x, spec.x), (self.y, spec.y)):
                    distance = _block_bytes(layout) - self.h * _row_bytes(layout)
                    asm.move(pointer, distance, f"{asm.name_of(pointer)}: next block of channels")
            for pointer, layout in ((self.x, spec.x), (self.y, spec.y)):
                distance = layout.sample_bytes - self.n_blocks * _block_bytes(layout)
                asm.move(pointer, distance, f"{asm.name_of(pointer)}: next sample")
            x86.ADD(begin, 1)

    def _row(self, counter: Any) -> None:
        """The pixels of a row, four at a time."""
        full, rest = divmod(self.w, _WORDS)
        if full:
            with self.asm.loop("w", full):
                self._group(counter, _WORDS)
        if rest:
            self._group(counter, rest)

    def _group(self, counter: Any, pixels: int) -> None:
        """Draws for a group, and multiplies `pixels` pixels of it; the pointers and the counter move on."""
        asm, v, philox = self.asm, self.asm.v, self.philox
        masks = [self.masks + i * 64 for i in range(pixels)]
        for half in range(self.halves):
            self._count(counter, half)
            philox.draw()
            for word, mask in zip(philox.words, masks, strict=False):
                philox.fraction(word, upper=half == 1)
                if half == 1:
                    v.or_(word, word, [mask])
                if half == self.halves - 1:
                    self._stays(word)
                v.store([mask], word)
        value = philox.words[0]
        for i, mask in enumerate(masks):
            v.load(value, [self.x + i * self.width])
            v.and_(value, value, [mask])
            v.mul(value, value, asm.vector_constant("scale", 1 / (1 - self.spec.p), "1 / (1 - p)"))
            v.store([self.y + i * self.width], value)
        for pointer in (self.x, self.y):
            asm.move(pointer, pixels * self.width, f"{asm.name_of(pointer)}: next pixels")
        asm.move(counter, self.c, "counter: next group of pixels")

    def _count(self, counter: Any, half: int) -> None:
        """The counters of the lanes, or of the even (0) or odd (1) ones: the place, the sample, the layer, the step."""
        asm, (place, sample, layer, step) = self.asm, self.philox.words
        numbers = list(range(asm.lanes))
        if self.halves == 2:
            numbers = [0 if lane % 2 else lane + half for lane in numbers]
        x86.MOV([self.place], counter)
        asm.v.broadcast(place, [self.place])
        name = ("lanes", "even_lanes", "odd_lanes")[half + self.halves - 1]
        asm.v.integer_add(place, place, asm.integer_constant(name, numbers, "numbers of lanes"))
        asm.v.load(sample, [self.sample])
        asm.v.load(layer, asm.integer_constant("layer", STREAM + self.spec.number, "the stream of this layer"))
        asm.v.load(step, [self.step])

    def _stays(self, word: Any) -> None:
        """word = all ones where it is a value that stays, else zeros."""
        asm, v = self.asm, self.asm.v
        v.integer_sub(self.spare, self.most, word)
        asm.note("negative: stays")
        if asm.element_bytes == 4:
            if asm.isa.has_vex:
                x86.VPSRAD(word, self.spare, 31)
            else:
                v.mov(word, self.spare)
                x86.PSRAD(word, 31)
        elif asm.isa.has_vex:
            x86.VPSHUFD(word, self.spare, 0xF5)
        else:
            x86.PSHUFD(word, self.spare, 0xF5)

    def _facts(self) -> Facts:
        spec, ctype = self.spec, dtype_tag(self.spec.x.dtype)
        return Facts(
            title=f"{spec.text}  {spec.y}",
            source="asmgen/kernels/elementwise/dropout.py",
            formula=(
                f"y = x / (1 - {spec.p!r}) where u >= {spec.p!r} 2^23, else 0;   u: the upper 23 bits of word w % 4 of",
                f"Philox(seed; (h {self.groups} + w / 4) {self.c} + c, n, 0x{STREAM + spec.number:x}, step)",
            ),
            arguments=(
                Argument("rdi", "x", ctype, str(spec.x), "in", "padding zero"),
                Argument("rsi", "loss_block", "loss block", "seed (u64) at 16, step (u64) at 24", "in"),
                Argument("rdx", "y", ctype, str(spec.y), "out", "may be x; halo not written"),
            ),
            slice_unit=f"samples, 0..{spec.x.n}",
            flops=spec.flops(),
            bytes_read=spec.x.size_bytes,
            bytes_written=spec.y.size_bytes,
            tile="a vector of channels of 4 pixels a drawing" + ", even and odd lanes apart" * (self.halves == 2),
        )


def _first(layout: Activations) -> int:
    """From a sample's first byte to its first element."""
    return layout.offset_bytes() if isinstance(layout, Image) else 0


def _row_bytes(layout: Activations) -> int:
    return layout.row_bytes if isinstance(layout, Image) else layout.block * layout.element_bytes


def _block_bytes(layout: Activations) -> int:
    return layout.plane_bytes if isinstance(layout, Image) else layout.block * layout.element_bytes
