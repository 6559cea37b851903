"""Optimizers' steps where the states lie out of a displacement's reach: the same bits as near by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from asmgen.asm.isa import ISAS
from asmgen.asm.listing import Listing
from asmgen.harness.call import call
from asmgen.harness.library import load_kernel
from asmgen.kernels.dense import dense_dw
from asmgen.kernels.optimizer import update
from asmgen.plan.specs import DenseBackwardWeightsStep, Update
from asmgen.tile.dense.dense_dw import UpdateTile
from tests.kernels import test_dense_by_output, test_dense_dw
from tests.kernels.dense_shapes import DTYPES, Shape

FAR = (1 << 31) + 64
SHAPE = Shape(9, 5, 1, 37)


def run(spec: DenseBackwardWeightsStep, listing: Listing) -> npt.NDArray[np.floating]:
    """[w, states] after a step over all units. What lies between them is never touched, so it takes no memory."""
    rng = np.random.default_rng(0)
    element = np.dtype(spec.x.dtype).itemsize
    x, dy = (
        rows.pack(rng.uniform(-1, 1, (rows.n, rows.features)).astype(rows.dtype)).ravel() for rows in (spec.x, spec.dy)
    )
    size = spec.weights.size_bytes // element
    begins = [distance // element for distance in (0, *spec.state_bytes)]
    memory = [aligned(part.size, spec.x.dtype) for part in (x, dy)] + [aligned(begins[-1] + size, spec.x.dtype)]
    memory.append(aligned(8, spec.x.dtype))
    for part, values in zip(memory, (x, dy), strict=False):
        part[:] = values
    for begin in begins:
        memory[2][begin : begin + size] = rng.uniform(0.1, 1, size)
    memory[3][:3] = 0.01, 0.02, 1.5
    assert call(load_kernel(listing), [part.ctypes.data for part in memory], 0, spec.slice_units(), listing.isa) == []
    return np.stack([memory[2][begin : begin + size] for begin in begins])


def aligned(size: int, dtype: str) -> npt.NDArray[np.floating]:
    """Zeros from the system, at a multiple of 64 bytes."""
    item = np.dtype(dtype).itemsize
    whole = np.zeros(size + 64 // item, dtype)
    first = -whole.ctypes.data % 64 // item
    return whole[first : first + size]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["momentum", "adam"])
@pytest.mark.parametrize("form", ["by input", "by input, prefetching", "by output"])
def test_same_bits(form: str, kind: str, isa: str, dtype: str) -> None:
    if form == "by output":
        spec = test_dense_by_output.make_update(SHAPE, isa, dtype, kind)
    else:
        spec = test_dense_dw.make_spec(SHAPE, isa, dtype, kind)
    far = replace(spec, state_bytes=tuple(FAR * at for at in range(1, spec.update.n_states + 1)))
    assert far.has_far_states
    assert not spec.has_far_states

    def emit(spec: DenseBackwardWeightsStep) -> Listing:
        tile = dense_dw.choose_update_tile(spec, ISAS[isa])
        if isinstance(tile, UpdateTile):
            tile = replace(tile, prefetches="prefetching" in form)
        return dense_dw.emit(spec, ISAS[isa], tile)

    near_after, far_after = run(spec, emit(spec)), run(far, emit(far))
    assert near_after.tobytes() == far_after.tobytes()
    assert len(np.unique(near_after)) > near_after.size // 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_second_state_of_the_convolutions(isa: str, dtype: str) -> None:
    """The first vectors of a step over more than 2 GB of parameters."""
    level, n, after = ISAS[isa], 11, []
    lanes = level.lanes(dtype)
    values = np.random.default_rng(0).uniform(0.1, 1, (4, n * lanes))
    for n_vectors in (n, FAR // level.vector_bytes):
        spec = Update("adam", dtype, lanes, n_vectors, 0.0, 0.9, 0.999, 1e-8)
        memory = [aligned(count * lanes, dtype) for count in (n, n, n_vectors + n)] + [aligned(8, dtype)]
        places = [memory[0], memory[1], memory[2], memory[2][n_vectors * lanes :]]
        for place, row in zip(places, values, strict=True):
            place[: n * lanes] = row
        memory[3][:3] = 0.01, 0.02, 1.5
        kernel = load_kernel(update.emit(spec, level))
        assert call(kernel, [part.ctypes.data for part in memory], 0, n, isa) == []
        after.append(np.stack([place[: n * lanes] for place in places]))
    assert after[0].tobytes() == after[1].tobytes()
    assert (after[0] != values.astype(dtype)).any(axis=1).tolist() == [True, False, True, True]


def test_uneven_distances_are_refused() -> None:
    spec = test_dense_dw.make_spec(SHAPE, "sse41", "float32", "adam")
    replace(spec, state_bytes=(FAR, 2 * FAR)).check()
    with pytest.raises(ValueError, match="uneven"):
        replace(spec, state_bytes=(FAR, 2 * FAR + 64)).check()
