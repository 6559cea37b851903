"""The random numbers of `docs/architecture.md` in NumPy: the same bits as `runtime/` draws (philox, init, order).

Philox4x32-10 (Salmon et al., SC11) with key = seed and counter = (index low, index high, stream, 0). Word i of a
stream is word i % 4 of block i // 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
SHUFFLE_STREAM = 0x10000
NORMAL_HALVES = 12
LOW_32 = np.uint64(0xFFFFFFFF)
SHIFT_32 = np.uint64(32)

Floats = npt.NDArray[np.floating[Any]]


def philox_blocks(seed: int, stream: int, first: int, count: int) -> npt.NDArray[np.uint32]:
    """Blocks first .. first + count - 1 of a stream: u32 [count][4]."""
    index = np.arange(first, first + count, dtype=np.uint64)
    c0, c1 = index & LOW_32, index >> SHIFT_32
    c2, c3 = np.full(count, stream, np.uint64), np.zeros(count, np.uint64)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1 = (p1 >> SHIFT_32) ^ c1 ^ np.uint64(k0), p1 & LOW_32
        c2, c3 = (p0 >> SHIFT_32) ^ c3 ^ np.uint64(k1), p0 & LOW_32
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


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
