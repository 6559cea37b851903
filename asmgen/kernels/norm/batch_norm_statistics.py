"""The statistics of a batch normalisation: of each sample, of the batch, and over all batches. Lanes are channels.

A sample's sums are of distances from one of its own pixels, K, the one in the middle: S1 of the distances, S2 of their
squares. Then mean = K + S1 / p and sum (x - mean)^2 = S2 - S1^2 / p, p pixels; nothing cancels but what K is off the
mean. The batch's mean is likewise a distance from the first sample's, and its variance is found from the samples' means
and sums once the mean is known (Chan, Golub and LeVeque, 1983).
"""

from __future__ import annotations

from typing import Any

import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import Isa
from asmgen.asm.listing import Argument, Facts, Listing
from asmgen.kernels.norm.plane_walk import PlaneWalk
from asmgen.kernels.norm.table_walk import n_sums, next_block, samples_present, to_block, tree
from asmgen.plan.layout import ChannelVectors, NormParts
from asmgen.plan.specs import BatchNormFrozen, BatchNormMoments, BatchNormParts, BatchNormRunning, dtype_tag
from asmgen.tile.common.count_text import counted

_SOURCE = "asmgen/kernels/norm/batch_norm_statistics.py"
_PRESENT_AT = 8  # in the loss block, behind 1 / present


def emit_parts(spec: BatchNormParts, isa: Isa) -> Listing:
    """The listing of one shape: rdi x, rsi parts (overwritten); slice of samples."""
    asm, vectors = Assembler(isa, spec.x.dtype, spec.symbol(isa.name)), ChannelVectors.of(spec.x)
    width = vectors.vector_bytes
    with asm:
        walk = PlaneWalk(asm, {"x": (0, spec.x)}, {"parts": (1, 2 * width, True)})
        pixels = walk.runs * walk.pixels
        n = n_sums(isa, walk.pixels)
        x, parts = walk.at["x"], walk.at["parts"]
        walk.seek()
        walk.release_begin()
        middle, distance = asm.vec.alloc("K"), asm.vec.alloc("x - K")
        first = [asm.vec.alloc(f"S1[{i}]") for i in range(n)]
        second = [asm.vec.alloc(f"S2[{i}]") for i in range(n)]

        def pixel(i: int, at: int) -> None:
            asm.v.load(distance, [x + at])
            asm.v.sub(distance, distance, middle)
            asm.v.add(first[i], first[i], distance)
            asm.v.fma(second[i], distance, distance)

        with walk.blocks("n", "samples in the slice", walk.left):
            asm.v.load(middle, [x + _middle_bytes(walk, spec)])
            asm.note("K: the pixel in the middle")
            for register in (*first, *second):
                asm.v.zero(register)
            walk.each_pixel(n, pixel)
            tree(asm, first)
            tree(asm, second)
            asm.v.mul(distance, first[0], asm.vector_constant("share", 1 / pixels, f"1 / {pixels}"))
            asm.note("S1 / p")
            asm.v.add(middle, middle, distance)
            asm.v.store([parts], middle)
            asm.note("the mean")
            asm.v.fnma(second[0], first[0], distance)
            asm.note("S2 - S1^2 / p")
            asm.v.zero(first[0])
            asm.v.max(first[0], first[0], second[0])
            asm.note("rounding may make it negative")
            asm.v.store([parts + width], first[0])
    return asm.finish(_parts_facts(spec, n))


def emit_moments(spec: BatchNormMoments, isa: Isa) -> Listing:
    """The listing of one shape: rdi parts, rsi weight and bias, rdx loss block, rcx moments (overwritten); slice of
    blocks of channels."""
    return _Moments(spec, isa).emit()


def emit_frozen(spec: BatchNormFrozen, isa: Isa) -> Listing:
    """The listing of one shape: rdi running statistics, rsi weight and bias, rdx moments (overwritten, but for two
    rows); slice of blocks of channels."""
    asm, vectors, table = Assembler(isa, spec.x.dtype, spec.symbol(isa.name)), spec.vectors, spec.moments
    with asm:
        running, weights, moments = _pointers(asm, spec, (0, "running"), (1, "weights"), (2, "moments"))
        begin, left = asm.argument(4, "begin"), asm.argument(5, "blocks left")
        asm.release_arguments()
        x86.SUB(left, begin)
        to_block(asm, begin, vectors.vector_bytes, running, weights)
        to_block(asm, begin, table.block_bytes, moments)
        mean, var, spare = (asm.vec.alloc(name) for name in ("mean", "var", "1"))
        with asm.loop("c", "blocks of channels", left):
            asm.v.load(mean, [running])
            asm.v.store([moments + table.row_bytes("mean")], mean)
            asm.v.load(var, [running + spec.running.var_offset_bytes])
            _finish(asm, spec, var, spare, weights, moments)
            next_block(asm, vectors.vector_bytes, running, weights)
            next_block(asm, table.block_bytes, moments)
    return asm.finish(_frozen_facts(spec))


def emit_running(spec: BatchNormRunning, isa: Isa) -> Listing:
    """The listing of one shape: rdi moments, rsi running statistics (in place); one unit."""
    running, table = spec.running, spec.moments
    vectors = running.vectors
    asm = Assembler(isa, vectors.dtype, spec.symbol(isa.name))
    with asm:
        moments, kept = asm.argument(0, "moments"), asm.argument(1, "running")
        begin, end = asm.argument(4, "begin"), asm.argument(5, "end")
        asm.release_arguments()
        done = asm.label("done")
        x86.CMP(begin, end)
        x86.JAE(done)
        share, old, new, one = (asm.vec.alloc(name) for name in ("share", "running", "batch", "1"))
        asm.v.load(one, asm.vector_constant("one", 1.0))
        x86.ADD(x86.qword[kept + running.count_offset_bytes], 1)
        asm.note("the steps seen")
        if spec.momentum is None:
            asm.v.broadcast_u32(share, [kept + running.count_offset_bytes])
            asm.v.div(new, one, share)
            asm.v.mov(share, new)
            asm.note("1 / steps: the average of all")
        else:
            asm.v.load(share, asm.vector_constant("share", spec.momentum))
        with asm.loop("c", vectors.n_blocks):
            asm.v.load(new, [moments + table.row_bytes("mean")])
            asm.v.load(old, [kept])
            asm.v.sub(new, new, old)
            asm.v.fma(old, new, share)
            asm.v.store([kept], old)
            asm.v.load(new, [moments + table.row_bytes("1/m")])
            asm.v.sub(old, one, new)
            asm.v.load(new, [moments + table.row_bytes("var")])
            asm.v.div(new, new, old)
            asm.note("var m / (m - 1)")
            asm.v.load(old, [kept + running.var_offset_bytes])
            asm.v.sub(new, new, old)
            asm.v.fma(old, new, share)
            asm.v.store([kept + running.var_offset_bytes], old)
            next_block(asm, vectors.vector_bytes, kept)
            next_block(asm, table.block_bytes, moments)
        asm.place(done)
    return asm.finish(_running_facts(spec))


class _Moments:
    """One emission: the batch's statistics of a block of channels, from those of its samples."""

    def __init__(self, spec: BatchNormMoments, isa: Isa) -> None:
        self.spec, self.isa = spec, isa
        self.asm = Assembler(isa, spec.x.dtype, spec.symbol(isa.name))
        self.width = spec.vectors.vector_bytes
        self.sample_bytes = 2 * spec.vectors.bias_offset_bytes  # of parts

    def emit(self) -> Listing:
        asm, spec, table = self.asm, self.spec, self.spec.moments
        with asm:
            self.parts, weights, loss, moments = _pointers(
                asm, spec, (0, "parts"), (1, "weights"), (2, "loss block"), (3, "moments")
            )
            begin, left = asm.argument(4, "begin"), asm.argument(5, "blocks left")
            asm.release_arguments()
            x86.SUB(left, begin)
            to_block(asm, begin, self.width, weights)
            to_block(asm, begin, 2 * self.width, self.parts)
            to_block(asm, begin, table.block_bytes, moments)
            asm.gp.free(begin)
            self.present, self.at = asm.gp.alloc("samples present"), asm.gp.alloc("sample's parts")
            x86.MOV(self.present.as_dword, [loss + _PRESENT_AT])
            self.mean, self.var, self.value, self.share = (
                asm.vec.alloc(name) for name in ("mean", "sum", "sample's", "1 / present")
            )
            asm.v.broadcast(self.share, [loss])
            asm.gp.free(loss)
            with asm.loop("c", "blocks of channels", left):
                self._mean(moments)
                self._variance(moments)
                _finish(asm, spec, self.var, self.value, weights, moments)
                x86.MOV(x86.dword[moments + table.row_bytes("present")], self.present.as_dword)
                next_block(asm, self.width, weights)
                asm.move(self.parts, 2 * self.width, "parts: next block of channels")
                next_block(asm, table.block_bytes, moments)
        return asm.finish(_moments_facts(spec))

    def _mean(self, moments: Any) -> None:
        """mean = K + sum (mean_n - K) / present, K the first sample's."""
        asm, v = self.asm, self.asm.v
        v.load(self.mean, [self.parts])
        asm.note("K: the first sample's mean")
        v.zero(self.var)
        with self._samples("mean_n"):
            v.load(self.value, [self.at])
            v.sub(self.value, self.value, self.mean)
            v.add(self.var, self.var, self.value)
        v.mul(self.var, self.var, self.share)
        v.add(self.mean, self.mean, self.var)
        v.store([moments + self.spec.moments.row_bytes("mean")], self.mean)

    def _variance(self, moments: Any) -> None:
        """var = sum (sum_n + p (mean_n - mean)^2) / m."""
        asm, v, spec = self.asm, self.asm.v, self.spec
        pixels = asm.vec.alloc("p")
        v.load(pixels, asm.vector_constant("pixels", float(spec.pixels), "of a channel in a sample"))
        v.zero(self.var)
        with self._samples("var_n"):
            v.load(self.value, [self.at])
            v.sub(self.value, self.value, self.mean)
            v.mul(self.value, self.value, self.value)
            v.mul(self.value, self.value, pixels)
            v.add(self.value, self.value, [self.at + self.width])
            v.add(self.var, self.var, self.value)
        asm.vec.free(pixels)
        v.mul(self.value, self.share, asm.vector_constant("each", 1 / spec.pixels, "1 / p"))
        v.store([moments + spec.moments.row_bytes("1/m")], self.value)
        v.mul(self.var, self.var, self.value)

    def _samples(self, name: str) -> Any:
        """A loop over the parts of all samples present, at `at`."""
        return samples_present(self.asm, name, self.present, self.at, self.parts, self.sample_bytes)


def _finish(
    asm: Assembler, spec: BatchNormMoments | BatchNormFrozen, var: Any, spare: Any, weights: Any, to: Any
) -> None:
    """The rows from "var" on: 1 / sqrt(var + eps), times the weight, and the bias. Overwrites var and spare."""
    v, table = asm.v, spec.moments
    v.store([to + table.row_bytes("var")], var)
    v.add(var, var, asm.vector_constant("eps", spec.eps))
    v.sqrt(var, var)
    v.load(spare, asm.vector_constant("one", 1.0))
    v.div(spare, spare, var)
    v.store([to + table.row_bytes("rstd")], spare)
    if spec.has_scale:
        v.mul(spare, spare, [weights])
    v.store([to + table.row_bytes("scale")], spare)
    if spec.has_bias:
        v.load(spare, [weights + spec.vectors.bias_offset_bytes])
    else:
        v.zero(spare)
    v.store([to + table.row_bytes("shift")], spare)


def _pointers(asm: Assembler, spec: Any, *arguments: tuple[int, str]) -> list[Any]:
    """The registers of pointers; None for weights that the kernel does not have."""
    has_weights = spec.has_scale or spec.has_bias
    return [asm.argument(at, name) if name != "weights" or has_weights else None for at, name in arguments]


def _middle_bytes(walk: PlaneWalk, spec: BatchNormParts) -> int:
    """From a block's first pixel to the one in the middle."""
    width = ChannelVectors.of(spec.x).vector_bytes
    if walk.runs == 1:
        return walk.pixels // 2 * width
    return walk.runs // 2 * walk.row_bytes("x") + walk.pixels // 2 * width


# headers --------------------------------------------------------------------------------------------------------------


def _parts_facts(spec: BatchNormParts, n: int) -> Facts:
    x, ctype = spec.x, dtype_tag(spec.x.dtype)
    return Facts(
        title=f"{spec.text}  of each sample: {x}",
        source=_SOURCE,
        formula=(
            "parts[n][c] = mean over pixels of x[n,c],   sum over pixels of (x[n,c] - mean)^2",
            "K = x in the middle, S1 = sum (x - K), S2 = sum (x - K)^2, p pixels: K + S1 / p,   S2 - S1^2 / p",
        ),
        arguments=(
            Argument("rdi", "x", ctype, str(x), "in", "padding zero"),
            Argument("rsi", "parts", ctype, str(NormParts.of(spec.x)), "out", "two vectors a block of channels"),
        ),
        slice_unit=f"samples, 0..{x.n}",
        flops=spec.flops(),
        bytes_read=x.size_bytes,
        bytes_written=NormParts.of(x).size_bytes,
        tile=f"{counted(n, 'sum')} in flight",
    )


def _moments_facts(spec: BatchNormMoments) -> Facts:
    x, ctype = spec.x, dtype_tag(spec.x.dtype)
    weights = (Argument("rsi", "weights", ctype, str(spec.vectors), "in"),) if _has_weights(spec) else ()
    return Facts(
        title=f"{spec.text}  of the batch: {x}",
        source=_SOURCE,
        formula=(
            "mean = K + sum_n (mean_n - K) / present,   var = sum_n (sum_n + p (mean_n - mean)^2) / m",
            *_scale_formula(spec),
        ),
        arguments=(
            Argument("rdi", "parts", ctype, str(NormParts.of(x)), "in", "mean_n, sum_n"),
            *weights,
            Argument("rdx", "loss_block", "loss block", "1 / present, present", "in"),
            Argument("rcx", "moments", ctype, str(spec.moments), "out", ", ".join(spec.moments.rows)),
        ),
        slice_unit=f"blocks of channels, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=NormParts.of(x).size_bytes,
        bytes_written=spec.moments.size_bytes,
        tile="a block of channels at a time, its samples in their order",
        notes=(f"p = {spec.pixels} pixels, m = present p; K: the mean of sample 0",),
    )


def _frozen_facts(spec: BatchNormFrozen) -> Facts:
    ctype = dtype_tag(spec.x.dtype)
    weights = (Argument("rsi", "weights", ctype, str(spec.vectors), "in"),) if _has_weights(spec) else ()
    return Facts(
        title=f"{spec.text}  of all batches: {spec.x}",
        source=_SOURCE,
        formula=("mean, var = the running ones", *_scale_formula(spec)),
        arguments=(
            Argument("rdi", "running", ctype, str(spec.running), "in"),
            *weights,
            Argument("rdx", "moments", ctype, str(spec.moments), "out", ", ".join(spec.moments.rows[:5])),
        ),
        slice_unit=f"blocks of channels, 0..{spec.slice_units()}",
        flops=spec.flops(),
        bytes_read=2 * spec.vectors.size_bytes,
        bytes_written=spec.moments.size_bytes,
        tile="a block of channels at a time",
    )


def _running_facts(spec: BatchNormRunning) -> Facts:
    ctype = dtype_tag(spec.running.vectors.dtype)
    share = "1 / steps" if spec.momentum is None else f"{spec.momentum!r}"
    return Facts(
        title=f"{spec.text}  over all batches: {spec.running.vectors.c} channels",
        source=_SOURCE,
        formula=(
            f"steps += 1,   mean += {share} (the batch's - mean),   var += {share} (the batch's m / (m - 1) - var)",
        ),
        arguments=(
            Argument("rdi", "moments", ctype, str(spec.moments), "in"),
            Argument("rsi", "running", ctype, str(spec.running), "in/out", "mean, var, steps (u64)"),
        ),
        slice_unit="one unit",
        flops=spec.flops(),
        bytes_read=spec.moments.size_bytes + spec.running.size_bytes,
        bytes_written=spec.running.size_bytes,
        tile="a block of channels at a time",
    )


def _scale_formula(spec: BatchNormMoments | BatchNormFrozen) -> tuple[str, ...]:
    scale, shift = "rstd weight" if spec.has_scale else "rstd", "bias" if spec.has_bias else "0"
    return (f"rstd = 1 / sqrt(var + {spec.eps!r}),   scale = {scale},   shift = {shift}",)


def _has_weights(spec: BatchNormMoments | BatchNormFrozen) -> bool:
    return spec.has_scale or spec.has_bias
