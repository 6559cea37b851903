"""Activations as passes of their own: y = f(x), and dx = dy * f', which is seen from x or y.

Tensors are walked as runs of vectors that lie contiguously in all of them: rows of pixels where a halo interrupts,
else planes or whole samples. Where f maps 0 to 0, padding stays zero by itself; elsewhere it is masked, which splits
off the vectors that hold some. What f is: asmgen/kernels/common/activations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.common.activations import code_of
from asmgen.kernels.elementwise.segments import Segment, segments
from asmgen.plan.layout import Activations
from asmgen.plan.specs import ActBackward, ActForward, Activation, dtype_tag
from asmgen.tile.common.count_text import advance, counted


def emit_forward(spec: ActForward, isa: Isa) -> Listing:
    """The listing of y = f(x): rdi x, rsi y (may be x; overwritten but for its halo); slice of samples."""
    return _Forward(spec, isa, spec.act, {"x": spec.x, "y": spec.y}).emit()


def emit_backward(spec: ActBackward, isa: Isa) -> Listing:
    """The listing of dx = dy * f': rdi dy, rsi x or y, rdx dx (may be dy; overwritten but for its halo); samples."""
    tensors = {"dy": spec.dy, spec.act.traits.slope_from: spec.saved, "dx": spec.dx}
    return _Backward(spec, isa, spec.act, tensors).emit()


class _Kernel:
    """One emission: a pointer per tensor that moves through the sample; the last tensor is the output."""

    formula = ""
    masks_padding = False
    unroll = 1  # vectors per trip

    def __init__(
        self, spec: ActForward | ActBackward, isa: Isa, act: Activation, tensors: dict[str, Activations]
    ) -> None:
        self.spec, self.act, self.tensors = spec, act, tensors
        self.code = code_of(act)
        self.layouts = list(tensors.values())
        self.asm = Assembler(isa, self.layouts[0].dtype, spec.symbol(isa.name))
        self.v = self.asm.v

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            self.pointers = [asm.argument(i, name) for i, name in enumerate(self.tensors)]
            begin, left = asm.argument(4, "begin"), asm.argument(5, "samples left")
            asm.release_arguments()
            walk = segments(self.layouts, asm.lanes, self.masks_padding)
            self._seek(begin, left, walk[0])
            operate = self._operation()
            with asm.loop("n", "samples in the slice", left):
                at = walk[0].first
                for segment in walk:
                    self._move([to - now for to, now in zip(segment.first, at, strict=True)], "next segment")
                    self._segment(segment, operate)
                    at = segment.end()
                ends = [first + layout.sample_bytes for first, layout in zip(walk[0].first, self.layouts, strict=True)]
                self._move([to - now for to, now in zip(ends, at, strict=True)], "next sample")
        return asm.finish(self._facts())

    def _operation(self) -> Callable[[int, Any], None]:
        """Take registers, load constants; returns the emitter of one vector: (byte offset from the pointers, mask)."""
        raise NotImplementedError

    # walking -------------------------------------------------------------------------------------------------------

    def _seek(self, begin: Any, left: Any, start: Segment) -> None:
        asm = self.asm
        asm.comment("the first element of the slice's first sample")
        offset = asm.gp.alloc("offset")
        for pointer, layout, first in zip(self.pointers, self.layouts, start.first, strict=True):
            x86.IMUL(offset, begin, layout.sample_bytes)
            x86.LEA(pointer, [pointer + offset * 1 + first])
        x86.SUB(left, begin)
        asm.gp.free(offset, begin)

    def _move(self, steps: list[int], where: str) -> None:
        for pointer, step in zip(self.pointers, steps, strict=True):
            self.asm.move(pointer, step, f"{self.asm.name_of(pointer)}: {where}")

    def _segment(self, segment: Segment, operate: Callable[[int, Any], None]) -> None:
        asm, width = self.asm, self.asm.isa.vector_bytes
        masks = [
            None if mask is None else asm.integer_constant(f"lanes_{segment.name}_{i}", list(mask), "lanes with data")
            for i, mask in enumerate(segment.masks)
        ]
        with asm.loop("c", segment.blocks):
            with asm.loop("h", segment.rows):
                unroll = self.unroll if len(masks) == 1 else segment.vectors
                trips, rest = divmod(segment.vectors, unroll)
                if trips:
                    with asm.loop("w", trips):
                        for u in range(unroll):
                            operate(u * width, masks[u % len(masks)])
                        self._move([unroll * width] * len(self.pointers), advance(unroll, "vector"))
                for u in range(rest):
                    operate(u * width, masks[u % len(masks)])
                self._move([step - trips * unroll * width for step in segment.row_steps], "next row")
            self._move(
                [step - segment.rows * row for step, row in zip(segment.block_steps, segment.row_steps, strict=True)],
                "next block of channels",
            )

    def _places(self, at: int) -> list[Any]:
        return [[pointer + at] for pointer in self.pointers]

    # the header ----------------------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        names, out = list(self.tensors), list(self.tensors)[-1]
        formula = self.formula.format(alpha=self.act.alpha)
        layout = self.layouts[-1]
        return Facts(
            title=f"{self.spec.text}  {layout}",
            source="asmgen/kernels/elementwise/act.py",
            formula=(f"{out} = {formula}, element by element",),
            arguments=tuple(
                Argument(
                    register,
                    name,
                    dtype_tag(self.layouts[i].dtype),
                    str(self.layouts[i]),
                    "out" if name == out else "in",
                    f"may be {names[0]}; halo not written" if name == out else "padding zero",
                )
                for i, (register, name) in enumerate(zip(("rdi", "rsi", "rdx"), names, strict=False))
            ),
            slice_unit=f"samples, 0..{layout.n}",
            flops=self.spec.flops(),
            bytes_read=sum(layout.size_bytes for layout in self.layouts[:-1]),
            bytes_written=layout.size_bytes,
            tile=f"{counted(self.unroll, 'vector')} a trip",
        )


class _Forward(_Kernel):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.masks_padding = not self.act.traits.maps_zero_to_zero
        self.formula, self.unroll = self.code.forward, self.code.unroll

    def _operation(self) -> Callable[[int, Any], None]:
        v, result = self.v, self.asm.vec.alloc("y")
        apply = self.code.open_forward(self.asm, self.act, True)

        def operate(at: int, mask: Any) -> None:
            x, y = self._places(at)
            apply(result, x)
            if mask is not None:
                v.and_(result, result, mask)
            v.store(y, result)

        return operate


class _Backward(_Kernel):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.formula, self.unroll = self.code.backward, self.code.backward_unroll

    def _operation(self) -> Callable[[int, Any], None]:
        result = self.asm.vec.alloc("dx")
        apply = self.code.open_backward(self.asm, self.act)

        def operate(at: int, mask: Any) -> None:
            dy, saved, dx = self._places(at)
            apply(result, dy, saved)
            self.v.store(dx, result)

        return operate
