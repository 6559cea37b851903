"""One input of a concatenation along channels, y[:, c0 : c0 + c] = x, and its gradient, dx = dy[:, c0 : c0 + c].

Where c0 is a multiple of V, blocks of channels are copied as they are. Else a block of the part lies in two blocks of
the whole: the lanes of each are moved by pieces that touch no other lane (asmgen/kernels/elementwise/mover.py), so that
what the neighbours have in the same vector stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.elementwise.mover import Mover
from asmgen.kernels.elementwise.run_walk import Part, RunWalk
from asmgen.kernels.elementwise.segments import Segment
from asmgen.plan.layout import Image, Rows
from asmgen.plan.specs import ChannelRange, ConcatBackward, ConcatForward, dtype_tag

_UNROLL = 4  # vectors per trip that are copied as they are
_UNROLL_PIECES = 2  # pixels per trip that are moved in pieces


def emit_forward(spec: ConcatForward, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi y (only its channels c0 .. c0 + c - 1, and padding); slice of samples."""
    return _Kernel(spec, isa, spec.range, {"x": spec.x, "y": spec.y}).emit()


def emit_backward(spec: ConcatBackward, isa: Isa) -> Listing:
    """The listing of one shape: rdi dy, rsi dx (overwritten but for its halo); slice of samples."""
    return _Kernel(spec, isa, spec.range, {"dy": spec.dy, "dx": spec.dx}).emit()


@dataclass(frozen=True)
class _Run:
    """Neighbouring lanes: `part_lane` of a block of the part, `whole_lane` counted from the block of the whole that
    holds the first lane of that block; lanes from V on are in the whole's next one."""

    part_lane: int
    whole_lane: int
    n: int


class _Kernel:
    """One emission. The first tensor is read, the second one written."""

    def __init__(
        self,
        spec: ConcatForward | ConcatBackward,
        isa: Isa,
        range_: ChannelRange,
        tensors: dict[str, Image | Rows],
    ) -> None:
        self.spec, self.range, self.tensors = spec, range_, tensors
        self.is_forward = isinstance(spec, ConcatForward)
        self.asm = Assembler(isa, range_.part.dtype, spec.symbol(isa.name))

    def emit(self) -> Listing:
        asm = self.asm
        with asm:
            walk = RunWalk(asm, {name: layout.sample_bytes for name, layout in self.tensors.items()})
            self.src, self.dst = walk.pointers
            self.mover = Mover(asm)
            part, whole = self.range.part, self.range.whole
            if isinstance(part, Image) and isinstance(whole, Image):
                walk.samples(list(self._image_parts(part, whole)))
            else:
                walk.samples(list(self._row_parts()))
        return asm.finish(self._facts())

    def _ordered(self, part: Any, whole: Any) -> tuple[Any, Any]:
        """In the order of the arguments."""
        return (part, whole) if self.is_forward else (whole, part)

    # images --------------------------------------------------------------------------------------------------------

    def _image_parts(self, part: Image, whole: Image) -> Iterator[Part]:
        """Blocks of the part that are moved alike, then the last one."""
        lanes, shift = self.asm.lanes, self.range.c0 % self.asm.lanes
        carried_in_last = self.range.carried - (part.n_c_blocks - 1) * lanes
        full = part.n_c_blocks - (not self._is_plain(carried_in_last))
        unroll = _UNROLL_PIECES if shift else _UNROLL
        if full:
            yield Part(self._segment(part, whole, 0, full), unroll, self._block_body(whole, lanes, is_last=False))
        if full < part.n_c_blocks:
            segment = self._segment(part, whole, full, 1)
            yield Part(segment, unroll, self._block_body(whole, carried_in_last, is_last=True))

    def _is_plain(self, carried_in_last: int) -> bool:
        """Whether the last block is moved like the others."""
        zeros = self.range.whole_zeros if self.is_forward else self.range.part_zeros
        return carried_in_last == self.asm.lanes and not zeros

    def _segment(self, part: Image, whole: Image, first_block: int, blocks: int) -> Segment:
        """Those blocks of the part, and of the whole those that hold their first lanes."""
        lanes = self.asm.lanes
        places = ((part, first_block * lanes), (whole, self.range.c0 // lanes * lanes + first_block * lanes))
        ordered = self._ordered(*places)
        whole_rows = all(image.cols == image.w for image, _ in ordered)
        rows, vectors = (1, part.h * part.w) if whole_rows else (part.h, part.w)
        return Segment(
            "blocks",
            tuple(image.offset_bytes(c=c) for image, c in ordered),
            blocks,
            rows,
            vectors,
            tuple(vectors * image.pixel_bytes if whole_rows else image.row_bytes for image, _ in ordered),
            tuple(image.plane_bytes for image, _ in ordered),
        )

    def _block_body(self, whole: Image, carried: int, *, is_last: bool) -> Callable[[int], None]:
        """A pixel of a block of which `carried` channels are moved; is_last: with the zeros behind them."""
        lanes, shift, element_bytes = self.asm.lanes, self.range.c0 % self.asm.lanes, self.asm.element_bytes
        first = min(carried, lanes - shift)
        runs = [_Run(0, shift, first)]
        if carried > first:
            runs.append(_Run(first, lanes, carried - first))

        def places(run: _Run, at: int) -> tuple[Any, Any]:
            """Source and target."""
            block, lane = divmod(run.whole_lane, lanes)
            part_at = at + run.part_lane * element_bytes
            whole_at = at + block * whole.plane_bytes + lane * element_bytes
            source_at, target_at = self._ordered(part_at, whole_at)
            return self.src + source_at, self.dst + target_at

        def body(at: int) -> None:
            for run in runs:
                source, target = places(run, at)
                self.mover.copy(target, source, run.n)
            if is_last:
                zeros = self.range.whole_zeros if self.is_forward else self.range.part_zeros
                self.mover.clear(places(_Run(carried, shift + carried, zeros), at)[1], zeros)

        return body

    # rows ----------------------------------------------------------------------------------------------------------

    def _row_parts(self) -> Iterator[Part]:
        """Whole vectors, then what is left, with the zeros behind it."""
        asm, width, element_bytes = self.asm, self.asm.isa.vector_bytes, self.asm.element_bytes
        vectors, rest = divmod(self.range.carried, asm.lanes)
        zeros = self.range.whole_zeros if self.is_forward else self.range.part_zeros
        starts = self._ordered(0, self.range.c0 * element_bytes)

        def vector(at: int) -> None:
            self.mover.copy(self.dst + at, self.src + at, asm.lanes)

        def end(at: int) -> None:
            self.mover.copy(self.dst + at, self.src + at, rest)
            self.mover.clear(self.dst + at + rest * element_bytes, zeros)

        if vectors:
            step = (vectors * width,) * 2
            yield Part(Segment("vectors", starts, 1, 1, vectors, step, step), _UNROLL, vector)
        if rest or zeros:
            first = tuple(start + vectors * width for start in starts)
            yield Part(Segment("end", first, 1, 1, 1, (width,) * 2, (width,) * 2), 1, end)

    # the header ----------------------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        range_, ctype = self.range, dtype_tag(self.range.part.dtype)
        (source_name, source), (target_name, target) = self.tensors.items()
        shift = range_.c0 % self.asm.lanes
        written = "halo not written, padding zero"
        if self.is_forward:
            written = f"only its channels{', and padding: zero' if range_.is_last else ''}"
        return Facts(
            title=f"{self.spec.text}  channels {range_.text()}  {source} -> {target}",
            source="asmgen/kernels/elementwise/concat.py",
            formula=(self.spec.formula(),),
            arguments=(
                Argument("rdi", source_name, ctype, str(source), "in", "padding zero"),
                Argument("rsi", target_name, ctype, str(target), "out", written),
            ),
            slice_unit=f"samples, 0..{target.n}",
            flops=self.spec.flops(),
            bytes_read=range_.part.size_bytes,
            bytes_written=range_.part.size_bytes,
            tile=f"lanes move by {shift}, in pieces" if shift else "blocks of the part are blocks of the whole",
        )
