"""Philox4x32-10 (Salmon et al., SC11): random words that depend on their key and counter alone."""

from __future__ import annotations

from asmgen.ops.numeric import Array, np

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
_LOW = 0xFFFFFFFF


def philox(seed: int, *counter: Array | int) -> Array:
    """u32 [...][4] of a counter of four words, arrays or numbers; what is above their 32 bits does not count."""
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) & np.uint64(_LOW) for word in counter)
    k0, k1, half = seed & _LOW, seed >> 32, np.uint64(32)
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        c0, c1 = (p1 >> half) ^ c1 ^ np.uint64(k0), p1 & np.uint64(_LOW)
        c2, c3 = (p0 >> half) ^ c3 ^ np.uint64(k1), p0 & np.uint64(_LOW)
        k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
    drawn: Array = np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)
    return drawn
