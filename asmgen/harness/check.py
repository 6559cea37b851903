"""Checks one kernel: values against the reference, slices, padding, guard pages, the ABI.

python -m asmgen.harness.check "<spec as it prints>" avx512 [seed]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asmgen.asm.isa import ISAS, Isa
from asmgen.asm.listing import Listing
from asmgen.errors import AsmgenError
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import call
from asmgen.harness.case import DATA, Array, Case, Expected
from asmgen.harness.cases import build_cases
from asmgen.harness.library import load_kernel
from asmgen.plan import layout, specs
from asmgen.plan.specs import KernelSpec

Emit = Callable[[KernelSpec, Isa], Listing]
_BAD_POINTER = 0xBAD0_BAD0_BAD0_BAD0
_MAX_SINGLE_UNITS = 64


class KernelError(AsmgenError):
    """A kernel broke its contract; the message ends in the command that repeats the check."""


@dataclass(frozen=True)
class Report:
    """What a check compared. worst: largest error in units of its bound; errors are against the float64 reference."""

    symbol: str
    n_values: int
    worst: float
    max_error: float
    max_relative_error: float  # of an output's largest error to its largest value


def check_kernel(spec: KernelSpec, isa: Isa | str, seed: int = 0, emit: Emit | None = None) -> Report:
    """Emit, assemble and check a kernel; emit: the emitter (default: the registry's).

    Raises KernelError with everything that was wrong with the first failing case.
    """
    isa = ISAS[isa] if isinstance(isa, str) else isa
    listing = (emit or _registered)(spec, isa)
    kernel = _Kernel(load_kernel(listing), isa.name, spec.slice_units())
    n_values, worst, max_error, max_relative = 0, 0.0, 0.0, 0.0
    for data in DATA:
        for case in build_cases(spec, data, seed):
            memory, problems = kernel.problems(case)
            for expected in case.expected:
                error, wrong = _compare(expected, memory, listing.dtype)
                problems += wrong
                n_values += expected.value.size
                worst = max(worst, float(np.max(_in_bounds(error, expected.bound))))
                max_error = max(max_error, float(error.max()))
                scale = float(np.abs(expected.value).max())
                max_relative = max(max_relative, float(error.max()) / scale if scale else 0.0)
            for check in case.checks:
                problems += list(check(memory))
            if problems:
                raise KernelError(_failure(listing.symbol, f"{data} {case.title}".strip(), problems, spec, isa, seed))
    if n_values == 0:
        raise KernelError(f"{listing.symbol}: nothing was checked")
    return Report(listing.symbol, n_values, worst, max_error, max_relative)


def _registered(spec: KernelSpec, isa: Isa) -> Listing:
    from asmgen.kernels.registry import emit_kernel  # late: authors check one emitter while others are missing

    return emit_kernel(spec, isa)


class _Kernel:
    """A loaded kernel and the ways to run it over a case."""

    def __init__(self, fn: int, isa: str, units: int) -> None:
        self.fn, self.isa, self.units = fn, isa, units

    def problems(self, case: Case) -> tuple[list[Array], list[str]]:
        """The memory after one call over everything, and what went wrong in this and in other ways to slice."""
        full, problems = self.run(case, [(0, self.units)])
        if problems:
            return full, problems
        for what, slices, options in self._variants(case):
            other, wrong = self.run(case, slices, **options)
            problems += [f"{what}: {text}" for text in wrong]
            problems += [f"{what}: {name} has other bits" for name in _differences(case, full, other)]
        middle = self.units // 2
        empty, wrong = self.run(case, [(0, 0), (middle, middle), (self.units, self.units)])
        problems += [f"empty slice: {text}" for text in wrong]
        untouched = [operand.before if operand else np.zeros(0) for operand in case.operands]
        problems += [f"empty slice: {name} was written" for name in _differences(case, untouched, empty)]
        return full, problems

    def _variants(self, case: Case) -> list[tuple[str, list[tuple[int, int]], dict[str, object]]]:
        units = self.units
        everything = [(0, units)]
        singles = sorted({int(at) for at in np.linspace(0, units, min(units, _MAX_SINGLE_UNITS) + 1)})
        one_by_one = list(zip(singles, singles[1:], strict=False))[::-1]
        variants: list[tuple[str, list[tuple[int, int]], dict[str, object]]] = [
            ("clean registers, start of the page", everything, {"poison": False, "flush": "start"}),
        ]
        if units > 1:
            variants.append(("one unit a call, last first", one_by_one, {}))
            variants += [(f"split at {at}", [(0, at), (at, units)], {}) for at in sorted({1, units // 2, units - 1})]
        if case.in_place:
            variants.append(("in place", everything, {"in_place": True}))
        return variants

    def run(
        self,
        case: Case,
        slices: Sequence[tuple[int, int]],
        *,
        poison: bool = True,
        flush: str = "end",
        in_place: bool = False,
    ) -> tuple[list[Array], list[str]]:
        """Fresh memory, one call a slice -> memory after it, broken rules."""
        buffers = [
            GuardedBuffer(operand.before, operand.align, flush) if operand else None for operand in case.operands
        ]
        if in_place and case.in_place:
            source, target = case.in_place
            buffers[target] = buffers[source]
        pointers = [buffer.address if buffer else _BAD_POINTER for buffer in buffers]
        problems: list[str] = []
        for begin, end in slices:
            problems += call(self.fn, pointers, begin, end, self.isa, poison=poison)
        memory = []
        for operand, buffer in zip(case.operands, buffers, strict=True):
            if operand is None or buffer is None:
                memory.append(np.zeros(0))
                continue
            memory.append(buffer.read(operand.before.dtype))
            if stray := buffer.stray_writes():
                problems.append(f"{operand.name}: {stray}")
            is_target = in_place and case.in_place and buffer is buffers[case.in_place[1]]
            if not operand.is_output and not is_target and not _same_bits(memory[-1], operand.before):
                problems.append(f"{operand.name}: an input was written")
        return memory, problems


def _same_bits(a: Array, b: Array) -> bool:
    return a.tobytes() == np.ascontiguousarray(b).tobytes()


def _differences(case: Case, a: Sequence[Array], b: Sequence[Array]) -> list[str]:
    """Names of the outputs whose bits differ."""
    return [
        operand.name
        for operand, left, right in zip(case.operands, a, b, strict=True)
        if operand and operand.is_output and not _same_bits(left, right)
    ]


def _in_bounds(error: Array, bound: Array | float) -> Array:
    """error / bound; 0 for an exact value, inf for a wrong one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = error / np.broadcast_to(bound, error.shape)
    return np.where(error == 0, 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def _compare(expected: Expected, memory: list[Array], dtype: str) -> tuple[Array, list[str]]:
    got = expected.unpack(memory[expected.operand]).astype(np.float64)
    error = np.abs(got - expected.value)
    bound = np.broadcast_to(expected.bound, error.shape)
    bad = ~(error <= bound)
    if not bad.any():
        return error, []
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    text = (
        f"{expected.name}: {int(bad.sum())} of {bad.size} wrong ({int(np.isnan(got).sum())} NaN), first at {at}: "
        f"{got[at]!r}, expected {expected.value[at]!r} within {float(bound[at]):.3g}"
    )
    return np.where(np.isnan(error), np.inf, error), [text.replace("np.float64", "")]


def _failure(symbol: str, case: str, problems: list[str], spec: KernelSpec, isa: Isa, seed: int) -> str:
    lines = "\n  ".join(problems)
    return f'{symbol} ({case}):\n  {lines}\nrerun: python -m asmgen.harness.check "{spec!r}" {isa.name} {seed}'


def main() -> None:
    """Repeat the check that a failure printed."""
    names = {**vars(specs), **vars(layout)}
    spec = eval(sys.argv[1], names)
    print(check_kernel(spec, sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))


if __name__ == "__main__":
    main()
