"""How many rows of the input a first layer keeps as numbers, and for which first layers that is worth its while."""

from __future__ import annotations

from asmgen.plan.specs import Conv, Pool

STRIP_BYTES = 20 * 1024  # of L1; weights, gradients and outputs take the rest
MAX_STRIP_BYTES = 128 * 1024  # of the frame, where one row of outputs needs more


def band_rows(conv: Conv, rows: int, window: int = 1, most_bytes: int = STRIP_BYTES, cols: int | None = None) -> int:
    """Rows of outputs that a kernel computes from one strip, of `rows`; `window`: rows of z for each, `cols` wide.

    As many as fit `most_bytes`, since the rows that two strips share are converted twice.
    """
    fitting = [n for n in range(1, rows + 1) if conv.strip(n * window, cols=cols).size_bytes <= most_bytes]
    largest = max(fitting, default=1)
    return -(-rows // -(-rows // largest))


def reads_pixels(conv: Conv, pool: Pool | None) -> bool:
    """Whether the first layer reads the u8 images itself, instead of a copy as numbers.

    Not where the rows under a single row of outputs, of all channels, leave L1 far behind.
    """
    return conv.strip(pool.ph if pool else 1).size_bytes <= MAX_STRIP_BYTES
