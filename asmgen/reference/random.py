"""The random numbers of `docs/architecture.md` in NumPy: the same bits as `runtime/` draws (philox, init, order).

Philox4x32-10 (Salmon et al., SC11) with key = seed and counter = (index low, index high, stream, 0). Word i of a
stream is word i % 4 of block i // 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from asmgen.ops.philox import philox

SHUFFLE_STREAM = 0x10000
NORMAL_HALVES = 12

Floats = npt.NDArray[np.floating[Any]]


def philox_blocks(seed: int, stream: int, first: int, count: int) -> npt.NDArray[np.uint32]:
    """Blocks first .. first + count - 1 of a stream: u32 [count][4]."""
    index = np.arange(first, first + count, dtype=np.uint64)
    return philox(seed, index, index >> np.uint64(32), stream, 0)


def words(seed: int, stream: int, count: int) -> npt.NDArray[np.uint32]:
    """The first `count` words of a stream."""
    return philox_blocks(seed, stream, 0, -(-count // 4)).reshape(-1)[:count]


def uniform(seed: int, stream: int, count: int, bound: float, dtype: npt.DTypeLike = np.float64) -> Floats:
    """`count` values in [-bound, bound): (2u + 1 - 2^24) * 2^-24 * bound with u = word >> 8; float64, then `dtype`."""
    u = (words(seed, stream, count) >> np.uint32(8)).astype(np.int64)
    return ((2 * u + 1 - 2**24) * 2.0**-24 * bound).astype(dtype)


def normal(seed: int, stream: int, count: int, std: float, dtype: npt.DTypeLike = np.float64) -> Floats:
    """`count` values of z * std, z = (sum of the twelve halves of words 6i .. 6i+5, + 6 - 12 * 2^15) / 2^16."""
    drawn = words(seed, stream, count * NORMAL_HALVES // 2).astype(np.int64).reshape(count, NORMAL_HALVES // 2)
    total = ((drawn & 0xFFFF) + (drawn >> 16)).sum(axis=1)
    values: Floats = (total + 6 - NORMAL_HALVES * 2**15) * 2.0**-16 * std
    return values.astype(dtype)


def shuffled(seed: int, epoch: int, samples: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """The samples in the order of an epoch (from 0): for i = count-1 .. 1, swap i and (word(i) * (i+1)) >> 32."""
    order = np.array(samples, dtype=np.uint32)
    draws = words(seed, SHUFFLE_STREAM + epoch, len(order)).tolist()
    for i in range(len(order) - 1, 0, -1):
        j = (draws[i] * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    return order
