"""dz behind a convolution: every activation and pool, halos on every side, pad lanes."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.harness.check import check_kernel
from asmgen.kernels.conv import conv2d_unpool
from asmgen.plan.layout import Halo, Image
from asmgen.plan.specs import Activation, Conv2dUnpool, Pool

ACTIVATIONS = [Activation(), Activation("relu"), Activation("leaky_relu", 0.1)]
POOLS = [
    None,
    Pool("max", 2, 2, 2, 2),
    Pool("max", 3, 2, 3, 2),
    Pool("max", 11, 11, 11, 11),
    Pool("avg", 2, 2, 2, 2),
    Pool("avg", 1, 3, 1, 3),
]
#: (c - blocks * V, blocks, h, w, halos of dy, y, dz)
SHAPES = [
    (1, 0, 1, 1, Halo(), Halo(), Halo()),
    (3, 2, 3, 7, Halo(), Halo(1, 1, 1, 1), Halo(1, 2, 3, 0)),
    (0, 1, 2, 9, Halo(0, 1, 2, 0), Halo(), Halo(1, 1, 1, 1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: act.kind)
def test_unpool(isa: str, dtype: str, act: Activation, pool: Pool | None) -> None:
    lanes = ISAS[isa].lanes(dtype)
    ph, pw = (pool.ph, pool.pw) if pool else (1, 1)
    for rest, blocks, h, w, dy_halo, y_halo, dz_halo in SHAPES:
        c = blocks * lanes + rest
        spec = Conv2dUnpool(
            Image(3, c, h, w, lanes, dtype, dy_halo),
            Image(3, c, h, w, lanes, dtype, y_halo),
            Image(3, c, h * ph, w * pw, lanes, dtype, dz_halo),
            act,
            pool,
        )
        check_kernel(spec, isa, emit=conv2d_unpool.emit)
