"""Measures the error of asmgen.kernels.common.transcendental in units in the last place.

python -m asmgen.harness.math_error [samples] prints the table of docs/math.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import peachpy.x86_64 as x86

from asmgen.asm.assembler import Assembler
from asmgen.asm.isa import ISAS, Isa
from asmgen.asm.listing import Facts, Listing
from asmgen.harness.call import call
from asmgen.harness.cases.case import Array
from asmgen.harness.library import load_kernel
from asmgen.kernels.common import transcendental
from asmgen.plan.layout import round_up
from asmgen.toolchain.cpu import cpu_features, missing_features

_SEED = 1


def _log1p_exp(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


@dataclass(frozen=True)
class Function:
    """An emitter, its exact counterpart (of long doubles), and the range whose results are normal numbers.

    ranges: per dtype, intervals of arguments; `logarithmic` draws their logarithms evenly.
    """

    name: str
    emit: Callable[[Assembler, Any], None]
    exact: Callable[[Array], Array]
    low: dict[str, float]
    high: dict[str, float]
    logarithmic: bool = False

    def samples(self, n: int, dtype: str) -> Array:
        """3n arguments: over the whole range, around 0 (logarithmic: 1), and of tiny magnitude (or distance to 1)."""
        rng = np.random.default_rng(_SEED)
        low, high = self.low[dtype], self.high[dtype]
        tiny = np.exp(rng.uniform(-40, 0, n)) * rng.choice([-1, 1], n)
        if self.logarithmic:
            wide = np.exp(rng.uniform(np.log(low), np.log(high), n))
            parts = wide, np.exp(rng.uniform(-1, 1, n)), 1 + 0.9 * tiny
        else:
            parts = rng.uniform(low, high, n), rng.uniform(-2, 2, n), tiny
        return np.concatenate(parts).astype(dtype)


_EXP_LOW, _EXP_HIGH = {"float32": -86.9, "float64": -708.0}, {"float32": 88.7, "float64": 709.7}
_WIDE = {"float32": 30.0, "float64": 50.0}

FUNCTIONS = (
    Function("exp", transcendental.exp, np.exp, _EXP_LOW, _EXP_HIGH),
    Function(
        "log", transcendental.log, np.log,
        {"float32": 1.2e-38, "float64": 2.3e-308}, {"float32": 3.4e38, "float64": 1.7e308}, logarithmic=True,
    ),
    Function("sigmoid", transcendental.sigmoid, _sigmoid, _EXP_LOW, _WIDE),
    Function("tanh", transcendental.tanh, np.tanh, {dtype: -high for dtype, high in _WIDE.items()}, _WIDE),
    Function("softplus", transcendental.softplus, _log1p_exp, _EXP_LOW, _EXP_HIGH),
)  # fmt: skip


def evaluate(function: Function, isa: Isa, x: Array) -> Array:
    """The function of every element of x (float32 or float64), by a kernel of this level."""
    dtype = str(x.dtype)
    size = round_up(x.size, isa.lanes(dtype))
    source, target = np.ones(size, dtype), np.empty(size, dtype)
    source[: x.size] = x
    broken = call(
        load_kernel(_kernel(function, isa, dtype)),
        [source.ctypes.data, target.ctypes.data],
        0,
        size // isa.lanes(dtype),
        isa.name,
    )
    if broken:
        raise RuntimeError(f"{function.name} on {isa.name}: {', '.join(broken)}")
    return target[: x.size]


def errors(function: Function, isa: Isa, x: Array) -> Array:
    """|result - exact| in units in the last place of the exact value."""
    exact = function.exact(x.astype(np.longdouble))
    form = np.finfo(x.dtype)
    _, exponent = np.frexp(np.maximum(np.abs(exact), np.longdouble(form.tiny)))
    return np.asarray(
        np.abs(evaluate(function, isa, x) - exact) / np.ldexp(np.longdouble(1), exponent - 1 - form.nmant)
    )


def _kernel(function: Function, isa: Isa, dtype: str) -> Listing:
    asm = Assembler(isa, dtype, f"{function.name}_{dtype}_{isa.name}")
    with asm:
        source, target, n_vectors = asm.argument(0, "source"), asm.argument(1, "target"), asm.argument(5, "vectors")
        asm.release_arguments()
        x = asm.vec.alloc("x")
        with asm.loop("i", "vectors", n_vectors):
            asm.v.load(x, [source])
            function.emit(asm, x)
            asm.v.store([target], x)
            x86.ADD(source, isa.vector_bytes)
            x86.ADD(target, isa.vector_bytes)
    return asm.finish(Facts(function.name, "asmgen/harness/math_error.py", (), (), "vectors", 0, 0, 0, "1 vector"))


def main() -> None:
    """Print the largest error of every function, dtype and level that this CPU can run."""
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    levels = [isa for isa in ISAS.values() if not missing_features(isa.name, cpu_features())]
    print("| function | dtype |", " | ".join(isa.name for isa in levels), "|")
    print("|" + "---|" * (2 + len(levels)))
    for function in FUNCTIONS:
        for dtype in ("float32", "float64"):
            x = function.samples(n, dtype)
            worst = [f"{float(errors(function, isa, x).max()):.2f}" for isa in levels]
            print(f"| {function.name} | {dtype} |", " | ".join(worst), "|")


if __name__ == "__main__":
    main()
