"""runtime/cuda/math.cuh has the constants of the CPU kernels; its accuracy is checked with activations and losses."""

from __future__ import annotations

import re

import numpy as np
import pytest

from asmgen.harness.cuda.library import CUDA_RUNTIME
from asmgen.kernels.common import polynomials
from asmgen.kernels.common import transcendental as cpu_math

TEXT = (CUDA_RUNTIME / "math.cuh").read_text()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "normal_tail"])
def test_polynomials(name: str, dtype: str) -> None:
    ctype = {"float32": "float", "float64": "double"}[dtype]
    body = TEXT.split(f"{ctype} {name}_polynomial({ctype}", 1)[1].split("}", 1)[0]
    found = [float(number) for number in re.findall(r"(?:= |, )(-?\d[\d.e-]*)f?[;)]", body)]
    np.testing.assert_array_equal(np.array(found, dtype), np.array(getattr(polynomials, name.upper())[dtype], dtype))


@pytest.mark.parametrize(("ctype", "size"), [("float", 4), ("double", 8)])
def test_formats(ctype: str, size: int) -> None:
    body = TEXT.split(f"struct Format<{ctype}> {{", 1)[1].split("};", 1)[0]
    found = dict(re.findall(r"(\w+) = (-?[\w.+-]+)", body))
    form = cpu_math._FORMATS[size]
    for name in ("fraction_bits", "bias", "one", "sqrt_half"):
        assert int(found[name], 0) == getattr(form, name)
    for name in ("ln2_high", "ln2_low", "exp_low", "exp_high"):
        text = found[name].removesuffix("f")
        assert (float.fromhex(text) if "0x" in text else float(text)) == getattr(form, name)
