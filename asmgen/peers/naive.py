"""One convolution as its formula reads, in Python and in C: what loops without any thought cost.

A dense layer is the convolution of one pixel by a 1x1 kernel.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from asmgen.errors import ToolError
from asmgen.plan import specs
from asmgen.plan.plan import Entry, Plan

Array = np.ndarray[Any, Any]

C_FLAGS = ("-O2",)
_PYTHON_MACS = 200_000  # what the Python loops are timed on: about 0.05 s


@dataclass(frozen=True)
class Work:
    """z[n,oc,oh,ow] = b[oc] + sum over c, i, j of x[n,c,oh*sh+i-pt,ow*sw+j-pl] * k[oc,c,i,j]."""

    n: int
    c: int
    h: int
    w: int
    oc: int
    oh: int
    ow: int
    kh: int
    kw: int
    sh: int
    sw: int
    pt: int
    pl: int

    @property
    def macs(self) -> int:
        return self.n * self.oc * self.oh * self.ow * self.c * self.kh * self.kw

    def __str__(self) -> str:
        if (self.h, self.w) == (1, 1):
            return f"dense {self.c} -> {self.oc}, batch {self.n}"
        shapes = f"{self.c}x{self.h}x{self.w} -> {self.oc}x{self.oh}x{self.ow}"
        return f"convolution {shapes}, {self.kh}x{self.kw}, batch {self.n}"

    def draw(self, dtype: str) -> tuple[Array, Array, Array]:
        """Random x, k, b."""
        rng = np.random.default_rng(0)
        shapes = (self.n, self.c, self.h, self.w), (self.oc, self.c, self.kh, self.kw), (self.oc,)
        x, k, b = (rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes)
        return x, k, b

    def slice(self, macs: int) -> Work:
        """A part of about `macs` multiply-adds: one sample, fewer output channels, fewer rows."""
        one = replace(self, n=1)
        row = one.macs // (self.oc * self.oh)
        oc = max(1, min(self.oc, macs // row))
        return replace(one, oc=oc, oh=max(1, min(self.oh, macs // (row * oc))))


def is_product(entry: Entry) -> bool:
    """Whether the entry multiplies matrices or convolves: what the multiply-adds of a model count."""
    return type(entry.spec).__name__.startswith(("Conv2dForward", "Conv2dBackward", "Dense"))


def step_macs(plan: Plan, *phases: str) -> int:
    """Multiply-adds of the products in these phases, as the direct algorithms count them."""
    return sum(entry.spec.flops() // 2 for phase in phases for entry in plan.phase(phase) if is_product(entry))


def heaviest(plan: Plan) -> tuple[Entry, Work]:
    """The forward product with the most multiply-adds, and that work without what is fused with it."""
    entry = max(filter(is_product, plan.phase("forward")), key=lambda entry: entry.spec.flops())
    if isinstance(entry.spec, specs.DenseForward | specs.DenseForwardByOutput):
        rows = entry.spec.x
        return entry, Work(rows.n, rows.features, 1, 1, entry.spec.weights.out, 1, 1, 1, 1, 1, 1, 0, 0)
    conv: specs.Conv = vars(entry.spec)["conv"]
    x, weights = conv.x, conv.weights
    shape = (x.n, x.c, x.h, x.w, weights.oc, conv.oh, conv.ow, weights.kh, weights.kw)
    return entry, Work(*shape, conv.sh, conv.sw, conv.pt, conv.pl)


def python_convolution(work: Work, x: list[Any], k: list[Any], b: list[float]) -> list[Any]:
    """z as nested lists [n][oc][oh][ow]."""
    z = []
    for sample in x:
        planes = []
        for oc in range(work.oc):
            plane = []
            for oh in range(work.oh):
                row = []
                for ow in range(work.ow):
                    total = b[oc]
                    for c in range(work.c):
                        for i in range(work.kh):
                            for j in range(work.kw):
                                h, w = oh * work.sh + i - work.pt, ow * work.sw + j - work.pl
                                if 0 <= h < work.h and 0 <= w < work.w:
                                    total += sample[c][h][w] * k[oc][c][i][j]
                    row.append(total)
                plane.append(row)
            planes.append(plane)
        z.append(planes)
    return z


class NaivePython:
    """Times the loops on a slice of `work`."""

    def __init__(self, work: Work, dtype: str) -> None:
        self._part = work.slice(_PYTHON_MACS)
        self._x, self._k, self._b = (array.tolist() for array in self._part.draw(dtype))

    def seconds_per_mac(self) -> float:
        """Extrapolates: what a multiply-add costs on the slice."""
        began = time.perf_counter()
        python_convolution(self._part, self._x, self._k, self._b)
        return (time.perf_counter() - began) / self._part.macs


class NaiveC:
    """naive.c, compiled here and now, on the whole of `work`."""

    def __init__(self, work: Work, dtype: str) -> None:
        self._function = _compiled({"float32": "float", "float64": "double"}[dtype])
        self._work, self._arrays = work, work.draw(dtype)
        self._z = np.zeros((work.n, work.oc, work.oh, work.ow), dtype)

    def run(self) -> Array:
        """z of one pass."""
        geometry = np.array(astuple(self._work), np.intc)
        self._function(*(ctypes.c_void_p(array.ctypes.data) for array in (*self._arrays, self._z, geometry)))
        return self._z

    def seconds_per_mac(self) -> float:
        """Of one pass over the whole work."""
        began = time.perf_counter()
        self.run()
        return (time.perf_counter() - began) / self._work.macs


def c_compiler() -> str | None:
    """gcc, or what calls itself cc; None where there is neither."""
    return shutil.which("gcc") or shutil.which("cc")


def _compiled(real: str) -> Any:
    compiler = c_compiler()
    if compiler is None:
        raise ToolError("no C compiler: naive C cannot be compiled; install it: apt-get install gcc")
    with tempfile.TemporaryDirectory(prefix="asmgen-bench-") as folder:
        library = Path(folder) / "naive.so"
        source = Path(__file__).with_name("naive.c")
        command = [compiler, *C_FLAGS, "-shared", "-fPIC", f"-DREAL={real}", "-o", str(library), str(source)]
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode:
            raise ToolError(f"{compiler} cannot compile {source}: {said.stderr.strip().splitlines()[0]}")
        return ctypes.CDLL(str(library)).convolution
