"""Sliding windows: their geometry, and NumPy's view of them."""

from __future__ import annotations

from typing import Any

from asmgen.ops.base import Pair, Shape, Site, spatial
from asmgen.ops.numeric import Array, np
from asmgen.ops.pair import size, spell

Pads = tuple[int, int, int, int]  # top, bottom, left, right


def windows(site: Site, what: str, shape: Shape, window: Pair, stride: Pair, pads: Pads) -> Pair:
    """How many windows fit: floor((side + padding - window) / stride) + 1 each way.

    what: "kernel" or "window". Raises ModelError where none fits.
    """
    _, h, w = spatial(site, shape)
    padded = h + pads[0] + pads[1], w + pads[2] + pads[3]
    if padded[0] < window[0] or padded[1] < window[1]:
        if what == "kernel":
            need = tuple(max(0, -(-(k - side) // 2)) for k, side in zip(window, (h, w), strict=True))
            advice = f"add padding={spell(need)}" + (" or drop the pool before it" if site.behind_pool else "")
        else:
            advice = "make the window smaller or drop this pool"
        padding = f" padded to {size(padded)}" if any(pads) else ""
        raise site.error(f"{what} {size(window)} on input {size((h, w))}{padding} leaves no output; {advice}")
    return (padded[0] - window[0]) // stride[0] + 1, (padded[1] - window[1]) // stride[1] + 1


def patches(x: Array, window: Pair, stride: Pair, pads: Pads = (0, 0, 0, 0)) -> Array:
    """[n, c, h, w] -> [n, c, oh, ow, kh, kw], zeros where a window leaves the image."""
    top, bottom, left, right = pads
    padded: Any = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    view = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]]


def scatter(values: Array, stride: Pair, pads: Pads, h: int, w: int) -> Array:
    """The transpose of `patches`: [n, c, oh, ow, kh, kw] added up into [n, c, h, w]."""
    n, c, oh, ow, kh, kw = values.shape
    top, bottom, left, right = pads
    padded: Array = np.zeros((n, c, h + top + bottom, w + left + right))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(j, j + (ow - 1) * stride[1] + 1, stride[1])
            padded[:, :, rows, columns] += values[..., i, j]
    return padded[:, :, top : top + h, left : left + w]
