"""Which gradients a CPU takes behind a max pool: sparse ones, but where dense ones are predicted to be faster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.plan.specs import Conv, Pool
from asmgen.plan.winograd import SIZES
from asmgen.tile.sparse.behind_max_pool import behind_max_pool, sparse_cycles, stored_cycles
from tests.kernels.pooled_shapes import SAME
from tests.kernels.support import V
from tests.kernels.test_conv2d_dw_pooled import spec_of
from tests.kernels.test_conv2d_dx_sparse import make_spec
from tests.kernels.test_pixels import of_pixels

WINDOWS = [(2, 2), (2, 3), (3, 2), (3, 3), (4, 4), (5, 5), (5, 3), (8, 8), (16, 16)]


def _middle(isa: str, **case: Any) -> tuple[Conv, Pool]:
    spec = make_spec(isa, "float32", (4, 2 * V, 32, 32), 4 * V, (3, 3), **case, **SAME)
    assert spec.pool is not None
    return spec.conv, spec.pool


@pytest.mark.parametrize(("window", "step"), WINDOWS)
def test_middle_layers_walk_live_entries(isa: str, window: int, step: int) -> None:
    conv, pool = _middle(isa, window=(window, window), step=(step, step))
    for has_dx in (False, True):
        assert behind_max_pool(conv, pool, has_dx, ISAS[isa], SIZES) == "sparse"
        sparse = sparse_cycles(conv, pool, has_dx, ISAS[isa])
        assert sparse is not None
        assert sparse < stored_cycles(conv, pool, has_dx, ISAS[isa], SIZES)


def test_as_many_windows_as_values_are_dense() -> None:
    """On AVX-512 with Winograd's input gradient. Where windows tile, nothing is compared."""
    conv, pool = _middle("avx512", window=(2, 2), step=(1, 1))
    assert behind_max_pool(conv, pool, True, ISAS["avx512"], SIZES) == "stored"
    conv, pool = _middle("avx512", window=(2, 2))
    assert behind_max_pool(conv, pool, True, ISAS["avx512"], SIZES) == "sparse"


def test_first_layers_expand_the_pooled_gradient(isa: str) -> None:
    for window, step in ((2, 2), (3, 3), (4, 4), (5, 3), (8, 8)):
        case: dict[str, Any] = {"shape": (4, 3, 64, 64), "oc": 32, "kernel": (3, 3), **SAME}
        spec = of_pixels(spec_of(isa, "float32", window=(window, window), step=(step, step), **case))
        assert behind_max_pool(spec.conv, spec.pool, False, ISAS[isa], SIZES) == "sparse"


def test_a_patch_too_large_is_stored(isa: str) -> None:
    spec = make_spec(isa, "float64", (1, 3, 140, 140), 3, (11, 11), stride=(8, 8), window=(16, 16), step=(1, 1))
    assert spec.pool is not None
    assert sparse_cycles(spec.conv, spec.pool, True, ISAS[isa]) is None
    assert behind_max_pool(spec.conv, spec.pool, True, ISAS[isa], SIZES) == "stored"
    tiling = replace(spec.pool, sh=16, sw=16)
    assert behind_max_pool(spec.conv, tiling, True, ISAS[isa], SIZES) == "stored"
