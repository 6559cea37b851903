"""What every kernel test starts from."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.harness import check
from asmgen.harness.check import Emit, Report
from asmgen.plan.specs import KernelSpec
from asmgen.toolchain.cpu import cpu_features, missing_features


def check_kernel(spec: KernelSpec, isa: Isa | str, seed: int = 0, emit: Emit | None = None) -> Report:
    """asmgen.harness.check.check_kernel, skipped (visibly) where this CPU lacks the level."""
    isa = ISAS[isa] if isinstance(isa, str) else isa
    if missing := missing_features(isa.name, cpu_features()):
        pytest.skip(f"this CPU lacks {', '.join(missing)}")
    return check.check_kernel(spec, isa, seed, emit)
