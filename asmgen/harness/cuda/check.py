"""Checks CUDA kernels in the emulation: values against the reference, padding, guard pages, the order of threads.

python -m asmgen.harness.cuda.check "<spec as it prints>" [seed [precision]]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from asmgen.cuda.listing import CudaListing
from asmgen.harness.cases.build import build_cases
from asmgen.harness.cases.case import DATA, Array, Case
from asmgen.harness.compare import KernelError, Report, Tally, differences, parse_spec
from asmgen.harness.cuda.library import load_library
from asmgen.harness.cuda.run import CudaFault, CudaKernel, Variant
from asmgen.plan.specs import KernelSpec

Emit = Callable[[KernelSpec, str], CudaListing]

_FIRST = Variant("", seed=1)


def check_cuda_kernel(spec: KernelSpec, seed: int = 0, precision: str = "float32", emit: Emit | None = None) -> Report:
    """Emit, compile and check the kernels of a spec; emit: the emitter (default: the registry's).

    With precision "tf32", data are numbers of that format, so that products stay exact and the bounds those of
    float32. Raises KernelError with everything that was wrong with the first failing case.
    """
    return check_cuda_kernels([spec], seed, precision, emit)[0]


def check_cuda_kernels(
    specs: Sequence[KernelSpec], seed: int = 0, precision: str = "float32", emit: Emit | None = None
) -> list[Report]:
    """The same for several specs, compiled together: a compiler's start costs more than a small kernel."""
    listings = [(emit or registered_emitter)(spec, precision) for spec in specs]
    library, path = load_library(list({listing.symbol: listing for listing in listings}.values()))
    return [
        check_loaded(spec, CudaKernel(listing, library, path), seed, precision)
        for spec, listing in zip(specs, listings, strict=True)
    ]


def registered_emitter(spec: KernelSpec, precision: str) -> CudaListing:
    """The CUDA registry's emit."""
    from asmgen.cuda.registry import emit  # late: authors check one emitter while others are missing

    return emit(spec, precision)


def check_loaded(spec: KernelSpec, kernel: CudaKernel, seed: int, precision: str) -> Report:
    """Check a kernel that is compiled and loaded. Raises KernelError."""
    symbol = kernel.listing.symbol
    tally = Tally(symbol)
    for data in DATA:
        for case in build_cases(spec, data, seed, precision):
            try:
                memory, problems = _run(kernel, case)
            except CudaFault as fault:
                problems = [str(fault)]
            else:
                problems += tally.judge(case, memory)
            if problems:
                lines = "\n  ".join(problems)
                rerun = f'python -m asmgen.harness.cuda.check "{spec!r}" {seed} {precision}'
                raise KernelError(f"{symbol} ({data} {case.title}):\n  {lines}\nrerun: {rerun}")
    return tally.report()


def _run(kernel: CudaKernel, case: Case) -> tuple[list[Array], list[str]]:
    """The memory after the first way to run a case, and what went wrong in this and in the others."""
    memory, problems = kernel.run(case, _FIRST)
    if problems:
        return memory, problems
    variants = [Variant("other order of threads, start of the page", seed=2, flush="start")]
    if case.in_place:
        variants.append(Variant("in place", seed=3, in_place=True))
    for variant in variants:
        other, wrong = kernel.run(case, variant)
        problems += [f"{variant.what}: {text}" for text in wrong]
        problems += [f"{variant.what}: {name} has other bits" for name in differences(case, memory, other)]
    return memory, problems


def main() -> None:
    """Repeat the check that a failure printed."""
    text, seed, precision = (*sys.argv[1:], *("0", "float32")[len(sys.argv) - 2 :])
    print(check_cuda_kernel(parse_spec(text), int(seed), precision))


if __name__ == "__main__":
    main()
