"""Gradients behind a max pool that expand the pooled one: windows and kernels across the edges of patches and of blocks
of K, in every arithmetic; and when the planner takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from asmgen.asm.isa import ISAS
from asmgen.cuda.conv import conv2d_dw
from asmgen.cuda.listing import CudaListing
from asmgen.cuda.sparse import conv2d_dx_pooled
from asmgen.cuda.sparse.behind_max_pool import behind_max_pool, estimates
from asmgen.cuda.sparse.tile_patch import Patch, choose_patch
from asmgen.cuda.target import CUDA
from asmgen.emit.planning import plan_for
from asmgen.harness.cuda.check import check_cuda_kernel, check_cuda_kernels
from asmgen.kernels.sparse import conv2d_dw_pooled
from asmgen.model.load import load_model
from asmgen.plan.layout import NO_HALO, Halo
from asmgen.plan.specs import Conv2dBackwardInputPooled, Conv2dBackwardWeightsPooled, Conv2dForward
from tests.cuda.test_products import _HALVES, _UNITS, ISA, MODES, _emitted
from tests.kernels import test_conv2d_dw_pooled, wide_pads
from tests.kernels.pooled_shapes import SAME, make_spec
from tests.kernels.support import V

PLANAR = test_conv2d_dw_pooled.CASES
BLOCKED: dict[str, dict[str, Any]] = {
    "whole blocks": {"shape": (2, V, 16, 16), "oc": 2 * V, "kernel": (3, 3), **SAME},
    "ragged, a row and a column left out": {"shape": (3, V + 1, 9, 15), "oc": 2 * V + 3, "kernel": (3, 3), **SAME},
    "one window": {"shape": (2, 3, 2, 2), "oc": 1, "kernel": (1, 1)},
    "5x5": {"shape": (1, 3, 13, 12), "oc": V - 1, "kernel": (5, 5), "pads": (2, 2, 2, 2), "bias": False},
    "pads beyond the kernel": {"shape": (1, 2, 5, 6), "oc": 5, "kernel": (2, 3), "pads": (3, 2, 2, 4)},
    "no pads, halos": {"shape": (2, V, 8, 11), "oc": 6, "kernel": (3, 2), "dy_halo": (1, 0, 2, 1)},
    "window 2x3": {"shape": (2, 3, 9, 14), "oc": V + 2, "kernel": (3, 3), "window": (2, 3), **SAME},
    "window 3x3": {"shape": (1, 3, 12, 13), "oc": V, "kernel": (2, 3), "window": (3, 3)},
    "window 4x4": {"shape": (2, V + 1, 14, 17), "oc": V + 3, "kernel": (3, 3), "window": (4, 4), **SAME},
    "window 5x1": {"shape": (1, V + 2, 11, 4), "oc": V, "kernel": (1, 3), "window": (5, 1)},
    "7x1": {"shape": (2, 3, 12, 5), "oc": 3, "kernel": (7, 1), "pads": (3, 3, 0, 0), "window": (1, 2)},
    "several patches": {"shape": (1, 2 * V, 19, 37), "oc": 3 * V - 1, "kernel": (3, 3), **SAME},
    **{name: case for name, case in wide_pads.CASES.items() if "stride" not in case},
}  # fmt: skip
NO_DX = ("strides and asymmetric pads", "7x7 stride 2", "11x11 stride 4", "even kernel, wide pads, strides")


def weights_of(dtype: str, *, planar: bool = False, **case: Any) -> Conv2dBackwardWeightsPooled:
    spec = make_spec(Conv2dBackwardWeightsPooled, ISA, dtype, **case)
    if planar:
        return spec
    return replace(spec, conv=replace(spec.conv, x=replace(spec.conv.x, block=ISAS[ISA].lanes(dtype))))


def input_of(dtype: str, **case: Any) -> Conv2dBackwardInputPooled:
    spec = weights_of(dtype, **case)
    return Conv2dBackwardInputPooled(spec.conv, spec.dy, replace(spec.conv.x, halo=NO_HALO), spec.pool)


def _fits(case: dict[str, Any], dtype: str) -> bool:
    """Whether windows tile, and a block of K has place for one."""
    ph, pw = case.get("window", (2, 2))
    return "step" not in case and ph * pw <= ISAS[ISA].lanes(dtype)


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_weight_gradient(mode: tuple[str, str]) -> None:
    dtype, precision = mode
    planar = [weights_of(dtype, planar=True, **case) for case in PLANAR.values() if _fits(case, dtype)]
    blocked = [weights_of(dtype, **case) for case in BLOCKED.values() if _fits(case, dtype)]
    strided = [weights_of(dtype, **PLANAR[name]) for name in NO_DX]
    kernels = [*planar, *blocked, *strided]
    check_cuda_kernels(kernels if mode == MODES[0] else kernels[MODES.index(mode) :: 3], precision=precision)


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_input_gradient(mode: tuple[str, str]) -> None:
    dtype, precision = mode
    kernels = [input_of(dtype, **case) for case in (*BLOCKED.values(), PLANAR["three planes"])]
    halos = [replace(spec, dx=replace(spec.dx, halo=Halo(1, 0, 0, 2))) for spec in kernels[:2]]
    check_cuda_kernels([*kernels, *halos] if mode == MODES[0] else kernels[MODES.index(mode) :: 3], precision=precision)


# tiles ---------------------------------------------------------------------------------------------------------------

_WIDE = BLOCKED["several patches"]


@pytest.mark.parametrize("tile", [_UNITS | {"split": 5}, _HALVES, _UNITS | {"arithmetic": "fma"}], ids=str)
@pytest.mark.parametrize("window", [(2, 2), (3, 1)])
def test_tiles_of_windows(window: tuple[int, int], tile: dict[str, Any]) -> None:
    spec = weights_of("float32", **_WIDE | {"window": window})
    check_cuda_kernel(spec, emit=_emitted(conv2d_dw, **tile))


def _patched(tile_w: int, **changes: Any) -> Callable[[Any, str], CudaListing]:
    """The emitter with a changed tile, and rectangles so wide."""

    def emit(spec: Any, precision: str) -> CudaListing:
        patch = choose_patch(spec, precision)
        assert patch is not None
        return conv2d_dx_pooled.emit(spec, precision, Patch.of(spec, replace(patch.tile, **changes), tile_w))

    return emit


@pytest.mark.parametrize(
    ("tile_w", "tile"),
    [
        (8, {"warps_m": 1, "warps_n": 1, "slots": 2, "a_unit": 2, "octets": 1, "stages": 2}),
        (16, {"warps_m": 2, "warps_n": 2, "slots": 6, "a_unit": 6, "octets": 1, "stages": 3}),
        (32, {"warps_m": 1, "warps_n": 4, "slots": 8, "a_unit": 8, "octets": 2, "stages": 3}),
        (8, {"warps_m": 4, "warps_n": 1, "slots": 4, "a_unit": 4, "octets": 2, "stages": 2, "arithmetic": "fma"}),
    ],
    ids=str,
)
def test_tiles_of_patches(tile_w: int, tile: dict[str, Any]) -> None:
    for window in ((2, 2), (3, 2)):
        check_cuda_kernel(input_of("float32", **_WIDE | {"window": window}), emit=_patched(tile_w, **tile))


# choice --------------------------------------------------------------------------------------------------------------


def test_catdog_never_stores_a_gradient_of_full_size() -> None:
    """By fewer estimated cycles and bytes for every layer."""
    plan = plan_for(load_model("models/catdog.py"), CUDA)
    ops = [entry.spec.op for entry in plan.phase("backward")]
    assert ops.count("conv2d_dx_pooled") == 2
    assert ops.count("conv2d_dw_pooled") == 3
    assert not [tensor.name for tensor in plan.tensors if tensor.name.startswith("dz")]
    for spec in plan.specs():
        if isinstance(spec, Conv2dForward):
            assert spec.pool is not None
            for precision in ("float32", "tf32"):
                stored, pooled = estimates(spec.conv, spec.pool, spec.conv.x.block > 1, precision)
                assert pooled is not None
                assert pooled.cycles < 0.96 * stored.cycles
                assert pooled.streamed_bytes < 0.5 * stored.streamed_bytes


def test_what_no_kernel_expands_is_stored() -> None:
    """Strides where the input has a gradient, kernels too large for a patch, windows too large for a block of K or
    that do not tile."""
    strided = weights_of("float32", **PLANAR["7x7 stride 2"])
    large = weights_of("float32", shape=(1, V, 64, 64), oc=V, kernel=(31, 31), pads=(15, 15, 15, 15))
    window = weights_of("float64", **BLOCKED["window 3x3"])
    overlapping = weights_of("float32", **PLANAR["window 3x3 by 2"])
    for spec in (strided, large, window, overlapping):
        assert behind_max_pool(spec.conv, spec.pool, True) == "stored"
    for spec in (strided, large):
        gradient = Conv2dBackwardInputPooled(spec.conv, spec.dy, replace(spec.conv.x, halo=NO_HALO), spec.pool)
        with pytest.raises(ValueError, match="no patch fits"):
            conv2d_dx_pooled.emit(gradient, "float32")
    with pytest.raises(ValueError, match="has no place for a window"):
        conv2d_dw.emit(window, "float32")
    with pytest.raises(ValueError, match="windows must tile"):
        conv2d_dw.emit(overlapping, "float32")
    for spec in (window, overlapping):
        assert estimates(spec.conv, spec.pool, False)[1] is None


def test_cpu_kernels_want_planar_inputs() -> None:
    with pytest.raises(ValueError, match="x must be planar"):
        conv2d_dw_pooled.emit(weights_of("float32", **BLOCKED["5x5"]), ISAS[ISA])
