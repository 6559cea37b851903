"""The convolution and its gradients as one matrix product a sample, over columns of patches (c*kh*kw, oh*ow)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from asmgen.plan.specs import Conv

Array = np.ndarray[Any, Any]


def _padded_size(conv: Conv) -> tuple[int, int]:
    """Rows and columns that the taps touch, counted from (-pt, -pl)."""
    rows = max((conv.oh - 1) * conv.sh + conv.weights.kh, conv.pt + conv.x.h)
    cols = max((conv.ow - 1) * conv.sw + conv.weights.kw, conv.pl + conv.x.w)
    return rows, cols


def _columns(conv: Conv, sample: Array) -> Array:
    """[c, h, w] -> [c*kh*kw, oh*ow]: x[c, oh*sh+i-pt, ow*sw+j-pl], zero outside."""
    weights = conv.weights
    padded = np.zeros((weights.c, *_padded_size(conv)))
    padded[:, conv.pt : conv.pt + conv.x.h, conv.pl : conv.pl + conv.x.w] = sample
    patches = sliding_window_view(padded, (weights.kh, weights.kw), axis=(1, 2))
    patches = patches[:, :: conv.sh, :: conv.sw][:, : conv.oh, : conv.ow]
    return patches.transpose(0, 3, 4, 1, 2).reshape(-1, conv.oh * conv.ow)


def numbers(conv: Conv, x: Array) -> Array:
    """x [n, c, h, w], made of the u8 images where the convolution reads pixels."""
    if conv.pixels is None:
        return x
    per_channel = (1, conv.x.c, 1, 1)
    scale, shift = (np.reshape(constants, per_channel) for constants in (conv.pixels.scale, conv.pixels.shift))
    return np.asarray(x * scale + shift)


def forward(conv: Conv, x: Array, w: Array, b: Array) -> Array:
    """z [n, oc, oh, ow] = b + conv(x, w); b is ignored where the convolution has no bias."""
    flat = w.reshape(w.shape[0], -1).astype(np.float64)
    z = np.stack([flat @ _columns(conv, sample) for sample in x])
    if conv.bias:
        z += b[:, None]
    return z.reshape(x.shape[0], -1, conv.oh, conv.ow)


def backward_input(conv: Conv, dz: Array, w: Array) -> Array:
    """dx [n, c, h, w]: the transpose of `forward` in x."""
    weights = conv.weights
    flat = w.reshape(w.shape[0], -1).astype(np.float64)
    dx = np.empty((dz.shape[0], weights.c, conv.x.h, conv.x.w))
    for sample, out in zip(dz, dx, strict=True):
        columns = (flat.T @ sample.reshape(weights.oc, -1)).reshape(weights.c, weights.kh, weights.kw, conv.oh, conv.ow)
        padded = np.zeros((weights.c, *_padded_size(conv)))
        for i in range(weights.kh):
            for j in range(weights.kw):
                rows, cols = slice(i, i + conv.oh * conv.sh, conv.sh), slice(j, j + conv.ow * conv.sw, conv.sw)
                padded[:, rows, cols][:, : conv.oh, : conv.ow] += columns[:, i, j]
        out[:] = padded[:, conv.pt : conv.pt + conv.x.h, conv.pl : conv.pl + conv.x.w]
    return dx


def backward_weights(conv: Conv, x: Array, dz: Array) -> Array:
    """dw [oc, c, kh, kw]: the transpose of `forward` in w."""
    weights = conv.weights
    dw = np.zeros((weights.oc, weights.c * weights.kh * weights.kw))
    for sample, gradient in zip(x, dz, strict=True):
        dw += gradient.reshape(weights.oc, -1) @ _columns(conv, sample).T
    return dw.reshape(weights.oc, weights.c, weights.kh, weights.kw)
