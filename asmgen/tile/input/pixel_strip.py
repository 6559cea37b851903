"""How many rows of the input a first layer keeps as numbers, and for which first layers that is worth its while."""

from __future__ import annotations

from asmgen.plan.specs import Conv, Pool

STRIP_BYTES = 20 * 1024  # of L1; weights, gradients and outputs take the rest
MAX_STRIP_BYTES = 128 * 1024  # of the frame, where one row of outputs needs more


def band_rows(
    conv: Conv, rows: int, pool: Pool | None = None, most_bytes: int = STRIP_BYTES, cols: int | None = None
) -> int:
    """Rows of outputs that a kernel computes from one strip, of `rows`; pool: from z to an output; cols: of z.

    As many as fit `most_bytes`, since the rows that two strips share are converted twice.
    """

    def strip_bytes(n: int) -> int:
        return conv.strip(pool.extent(n, 1)[0] if pool else n, cols=cols).size_bytes

    fitting = [n for n in range(1, rows + 1) if strip_bytes(n) <= most_bytes]
    largest = max(fitting, default=1)
    return -(-rows // -(-rows // largest))


def reads_pixels(conv: Conv, pool: Pool | None) -> bool:
    """Whether the first layer reads the u8 images itself, instead of a copy as numbers.

    Not where the rows under a single row of outputs, of all channels, leave L1 far behind.
    """
    return conv.strip(pool.ph if pool else 1).size_bytes <= MAX_STRIP_BYTES
