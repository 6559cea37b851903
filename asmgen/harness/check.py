"""Checks one kernel: values against the reference, slices, padding, guard pages, the ABI.

python -m asmgen.harness.check "<spec as it prints>" avx512 [seed]
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asmgen.asm.isa import ISAS, Isa
from asmgen.asm.listing import Listing
from asmgen.harness.buffers import GuardedBuffer
from asmgen.harness.call import KernelFault, call
from asmgen.harness.cases.build import build_cases
from asmgen.harness.cases.case import DATA, Array, Case, Operand
from asmgen.harness.compare import KernelError, Report, Tally, differences, parse_spec, same_bits
from asmgen.harness.library import instruction_at, load_kernel
from asmgen.plan.specs import KernelSpec

Emit = Callable[[KernelSpec, Isa], Listing]
_BAD_POINTER = 0xBAD0_BAD0_BAD0_BAD0
_MAX_SINGLE_UNITS = 64


class _FaultedError(Exception):
    """The kernel did not return; nothing else of the case can be judged."""


def check_kernel(spec: KernelSpec, isa: Isa | str, seed: int = 0, emit: Emit | None = None) -> Report:
    """Emit, assemble and check a kernel; emit: the emitter (default: the registry's).

    Raises KernelError with everything that was wrong with the first failing case.
    """
    isa = ISAS[isa] if isinstance(isa, str) else isa
    listing = (emit or registered_emitter)(spec, isa)
    kernel = _Kernel(listing, spec.slice_units())
    tally = Tally(listing.symbol)
    for data in DATA:
        for case in build_cases(spec, data, seed):
            try:
                memory, problems = kernel.problems(case)
            except _FaultedError as fault:
                raise KernelError(_failure(listing.symbol, data, case, [str(fault)], spec, isa, seed)) from None
            problems += tally.judge(case, memory)
            if problems:
                raise KernelError(_failure(listing.symbol, data, case, problems, spec, isa, seed))
    return tally.report()


def registered_emitter(spec: KernelSpec, isa: Isa) -> Listing:
    """The kernel registry's emit_kernel."""
    from asmgen.kernels.registry import emit_kernel  # late: authors check one emitter while others are missing

    return emit_kernel(spec, isa)


@dataclass(frozen=True)
class _Variant:
    """A way to run a kernel over a whole case; all of them must give the same bits."""

    what: str
    slices: Sequence[tuple[int, int]]
    poison: bool = True
    flush: str = "end"
    in_place: bool = False


class _Kernel:
    """A loaded kernel and the ways to run it over a case."""

    def __init__(self, listing: Listing, units: int) -> None:
        self.listing, self.units = listing, units
        self.fn = load_kernel(listing)

    def problems(self, case: Case) -> tuple[list[Array], list[str]]:
        """The memory after one call over everything, and what went wrong in this and in other ways to slice."""
        full, problems = self.run(case, _Variant("all at once", [(0, self.units)]))
        if problems:
            return full, problems
        for variant in self._variants(case):
            other, wrong = self.run(case, variant)
            problems += [f"{variant.what}: {text}" for text in wrong]
            problems += [f"{variant.what}: {name} has other bits" for name in differences(case, full, other)]
        middle = self.units // 2
        nothing = _Variant("empty slice", [(0, 0), (middle, middle), (self.units, self.units)])
        empty, wrong = self.run(case, nothing)
        problems += [f"empty slice: {text}" for text in wrong]
        untouched = [operand.before if operand else np.zeros(0) for operand in case.operands]
        problems += [f"empty slice: {name} was written" for name in differences(case, untouched, empty)]
        return full, problems

    def _variants(self, case: Case) -> list[_Variant]:
        units = self.units
        everything = [(0, units)]
        singles = sorted({int(at) for at in np.linspace(0, units, min(units, _MAX_SINGLE_UNITS) + 1)})
        one_by_one = list(itertools.pairwise(singles))[::-1]
        variants = [_Variant("clean registers, start of the page", everything, poison=False, flush="start")]
        if units > 1:
            variants.append(_Variant("one unit a call, last first", one_by_one))
            variants += [
                _Variant(f"split at {at}", [(0, at), (at, units)]) for at in sorted({1, units // 2, units - 1})
            ]
        if case.in_place:
            variants.append(_Variant("in place", everything, in_place=True))
        return variants

    def run(self, case: Case, variant: _Variant) -> tuple[list[Array], list[str]]:
        """Fresh memory, one call a slice -> memory after it, broken rules."""
        buffers = [_Placed(operand, variant.flush) if operand else None for operand in case.operands]
        in_place = variant.in_place
        if in_place and case.in_place:
            source, target = case.in_place
            buffers[target] = buffers[source]
        pointers = [buffer.address if buffer else _BAD_POINTER for buffer in buffers]
        problems: list[str] = []
        for begin, end in variant.slices:
            try:
                problems += call(self.fn, pointers, begin, end, self.listing.isa, poison=variant.poison)
            except KernelFault as fault:
                raise _FaultedError(self._describe(fault, buffers, begin, end)) from None
        memory = []
        for operand, buffer in zip(case.operands, buffers, strict=True):
            if operand is None or buffer is None:
                memory.append(np.zeros(0))
                continue
            memory.append(buffer.read())
            problems += buffer.problems()
            is_target = in_place and case.in_place and buffer is buffers[case.in_place[1]]
            if not operand.is_output and not is_target and not same_bits(memory[-1], operand.before):
                problems.append(f"{operand.name}: an input was written")
        return memory, problems

    def _describe(self, fault: KernelFault, buffers: Sequence[_Placed | None], begin: int, end: int) -> str:
        where = f"{fault} {instruction_at(self.listing, fault.offset)}, slice [{begin}, {end})"
        if fault.is_timeout:
            return f"does not return: {where}"
        places = [place for buffer in buffers if buffer and (place := buffer.place_of(fault.address))]
        touched = f" touches {places[0] if places else hex(fault.address)}" if fault.touched_memory else ""
        return where + touched


class _Placed:
    """An operand between guard pages, and the memory that it points to, if any."""

    def __init__(self, operand: Operand, flush: str) -> None:
        self._operand = operand
        self._target: _Placed | None = _Placed(operand.target, flush) if operand.target else None
        self._origin = np.uint64(self._target.address if self._target else 0)
        contents = operand.before + self._origin if self._target else operand.before
        self._buffer = GuardedBuffer(contents, operand.align, flush)
        self.address: int = self._buffer.address

    def read(self) -> Array:
        """As the operand's `before`: addresses as offsets."""
        memory = self._buffer.read(self._operand.before.dtype)
        return memory - self._origin if self._target else memory

    def problems(self) -> list[str]:
        """What was written that must not be."""
        found = [f"{self._operand.name}: {stray}"] if (stray := self._buffer.stray_writes()) else []
        if self._target:
            found += self._target.problems()
            if not same_bits(self._target.read(), self._target._operand.before):
                found.append(f"{self._target._operand.name}: an input was written")
        return found

    def place_of(self, address: int) -> str | None:
        """Where an address lies, seen from the operand or what it points to."""
        if place := self._buffer.place_of(address):
            return f"{self._operand.name}, {place}"
        return self._target.place_of(address) if self._target else None


def _failure(symbol: str, data: str, case: Case, problems: list[str], spec: KernelSpec, isa: Isa, seed: int) -> str:
    lines = "\n  ".join(problems)
    title = f"{data} {case.title}".strip()
    return f'{symbol} ({title}):\n  {lines}\nrerun: python -m asmgen.harness.check "{spec!r}" {isa.name} {seed}'


def main() -> None:
    """Repeat the check that a failure printed."""
    print(check_kernel(parse_spec(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))


if __name__ == "__main__":
    main()
