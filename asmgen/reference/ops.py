"""What every kernel computes, in NumPy float64 on logical arrays ([n, c, h, w], [n, features], [oc, c, kh, kw]).

`run(spec, *inputs)` takes a kernel's inputs in the order of its arguments (a parameter block counts as two: weights,
bias) and returns its outputs in the same order; formulas are in the docstrings of the specs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from asmgen.ops.sigmoid import sigmoid
from asmgen.ops.softmax import softmax
from asmgen.plan import specs
from asmgen.plan.layout import Image
from asmgen.plan.specs import Pool
from asmgen.reference import conv
from asmgen.reference.activations import activate, slope

Array = np.ndarray[Any, Any]
Parts = tuple[Array, Array]  # of a parameter block: weights, bias


def run(spec: specs.KernelSpec, *inputs: Any) -> tuple[Any, ...]:
    """The outputs of `spec` for `inputs`, both as listed at the op's function below; None where there is none."""
    return _OPS[type(spec)](spec, *inputs) if type(spec) in _OPS else spec.compute(*inputs)


# pieces --------------------------------------------------------------------------------------------------------------


def windows(x: Array, pool: Pool) -> Array:
    """[n, c, h, w] -> [n, c, oh, ow, ph * pw], positions in row-major order."""
    view = sliding_window_view(x, (pool.ph, pool.pw), axis=(2, 3))[:, :, :: pool.sh, :: pool.sw]
    return view.reshape(*view.shape[:4], pool.ph * pool.pw)


def scatter(values: Array, pool: Pool, h: int, w: int) -> Array:
    """The transpose of `windows`: [n, c, oh, ow, ph * pw] added up into [n, c, h, w]."""
    n, c, oh, ow, _ = values.shape
    out = np.zeros((n, c, h, w))
    for position in range(pool.ph * pool.pw):
        r, s = divmod(position, pool.pw)
        out[:, :, r : r + oh * pool.sh : pool.sh, s : s + ow * pool.sw : pool.sw] += values[..., position]
    return out


def live_bits(z_windows: Array) -> Array:
    """u8 with bit r*pw+s set where the element of the window is > 0."""
    weights = 1 << np.arange(z_windows.shape[-1])
    return np.asarray(((z_windows > 0) * weights).sum(-1), np.uint8)


def _chosen(codes: Array, n_positions: int) -> Array:
    """codes -> 1.0 at the position they name, on a new last axis."""
    return np.asarray(codes[..., None] == np.arange(n_positions), np.float64)


# ops -----------------------------------------------------------------------------------------------------------------


def load_input(spec: specs.LoadInput, images: Array, indices: Array) -> tuple[Array]:
    """u8 images [count, c, h, w], indices [n] -> dst."""
    shape = (1, spec.c, 1, 1)
    dst = images[indices] * np.reshape(spec.scale, shape) + np.reshape(spec.shift, shape)
    return (dst if isinstance(spec.dst, Image) else dst.reshape(spec.dst.n, -1),)


def conv2d_forward(spec: specs.Conv2dForward, x: Array, w: Array, b: Array) -> tuple[Array, Array | None]:
    """x (or the u8 images of the samples), w, b -> y, codes (None unless the spec has codes)."""
    z = conv.forward(spec.conv, conv.numbers(spec.conv, x), w, b)
    if spec.pool is None:
        return activate(spec.act, z), None
    z_windows = windows(z, spec.pool)
    if spec.pool.kind == "max":
        return activate(spec.act, z_windows.max(-1)), np.asarray(z_windows.argmax(-1), np.uint8) if spec.codes else None
    return activate(spec.act, z_windows).mean(-1), live_bits(z_windows) if spec.codes else None


def conv2d_unpool(spec: specs.Conv2dUnpool, dy: Array, y: Array, codes: Array | None) -> tuple[Array]:
    """dy, y, codes (None without a pool, and for an average without activation) -> dz."""
    pool = spec.pool
    if pool is None:
        return (dy * slope(spec.act, y),)
    n_positions = pool.ph * pool.pw
    if pool.kind == "max":
        return (_unpooled(dy * slope(spec.act, y), codes, pool, spec.dz.h, spec.dz.w),)
    if spec.act:
        assert codes is not None
        live = (codes[..., None] >> np.arange(n_positions)) & 1
        values = (dy / n_positions)[..., None] * slope(spec.act, live.astype(np.float64))
    else:
        values = np.repeat((dy / n_positions)[..., None], n_positions, -1)
    return (scatter(values, pool, spec.dz.h, spec.dz.w),)


def conv2d_dx(spec: specs.Conv2dBackwardInput, dz: Array, w: Array) -> tuple[Array]:
    """dz, w (as [oc, c, kh, kw]) -> dx."""
    return (conv.backward_input(spec.conv, dz, w),)


def conv2d_dw(spec: specs.Conv2dBackwardWeights, x: Array, dz: Array) -> tuple[Array, Array | None]:
    """x (or the u8 images of the samples), dz -> dw, db (None without bias)."""
    dw = conv.backward_weights(spec.conv, conv.numbers(spec.conv, x), dz)
    return dw, dz.sum((0, 2, 3)) if spec.conv.bias else None


def _unpooled(dy: Array, codes: Array | None, pool: Pool | None, h: int, w: int) -> Array:
    """dz [n, oc, h, w]: every dy at the position its code names (without a pool: dy itself)."""
    if pool is None:
        return dy
    assert codes is not None
    return scatter(dy[..., None] * _chosen(codes, pool.ph * pool.pw), pool, h, w)


def conv2d_dw_pooled(
    spec: specs.Conv2dBackwardWeightsSparse | specs.Conv2dBackwardWeightsPooled,
    x: Array,
    dy: Array,
    codes: Array | None,
) -> tuple[Array, Array | None]:
    """x (or the u8 images of the samples), dy, codes (None without a pool) -> dw, db (None without bias)."""
    dz = _unpooled(dy, codes, spec.pool, spec.conv.oh, spec.conv.ow)
    dw = conv.backward_weights(spec.conv, conv.numbers(spec.conv, x), dz)
    return dw, dy.sum((0, 2, 3)) if spec.conv.bias else None


def sum_parts(spec: specs.SumParts, parts: Array) -> tuple[Array]:
    """parts [n_parts, elements] -> their sum."""
    return (parts.sum(0),)


def live_entries(spec: specs.LiveEntries, dy: Array, codes: Array | None) -> tuple[Array]:
    """dy, codes (None without a pool) -> the list, seen as the dz [n, oc, oh, ow] that it stands for."""
    return (_unpooled(dy, codes, spec.pool, spec.conv.oh, spec.conv.ow),)


def conv2d_dx_sparse(spec: specs.Conv2dBackwardInputSparse, live: Array, w: Array) -> tuple[Array]:
    """The list (as dz), w -> dx."""
    return (conv.backward_input(spec.conv, live, w),)


def conv2d_dx_pooled(spec: specs.Conv2dBackwardInputPooled, dy: Array, codes: Array, w: Array) -> tuple[Array]:
    """dy, codes, w -> dx."""
    return (conv.backward_input(spec.conv, _unpooled(dy, codes, spec.pool, spec.conv.oh, spec.conv.ow), w),)


def conv2d_pack_dx(spec: specs.Conv2dPackBackwardInput, w: Array) -> tuple[Array]:
    """w -> the same w: only the layout changes."""
    return (w,)


def conv2d_pack_fwd(spec: specs.Conv2dPackForward, w: Array, b: Array) -> tuple[Array, Array]:
    """w, b -> the same: only the layout changes."""
    return w, b


def winograd_weights(spec: specs.WinogradWeights, w: Array, b: Array) -> tuple[Array, Array]:
    """w, b -> the same w and b: only their layout changes (TransformedWeights.pack transforms)."""
    return w, b


def pool_forward(spec: specs.PoolForward, x: Array) -> tuple[Array, Array | None]:
    """x -> y, codes (max only)."""
    x_windows = windows(x, spec.pool)[:, :, : spec.y.h, : spec.y.w]
    if spec.pool.kind == "max":
        return x_windows.max(-1), np.asarray(x_windows.argmax(-1), np.uint8) if spec.codes else None
    return x_windows.mean(-1), None


def pool_backward(spec: specs.PoolBackward, dy: Array, codes: Array | None) -> tuple[Array]:
    """dy, codes (max only) -> dx."""
    n_positions = spec.pool.ph * spec.pool.pw
    if spec.pool.kind == "max":
        assert codes is not None
        values = dy[..., None] * _chosen(codes, n_positions)
    else:
        values = np.repeat((dy / n_positions)[..., None], n_positions, -1)
    return (scatter(values, spec.pool, spec.dx.h, spec.dx.w),)


def global_avg_pool_forward(spec: specs.GlobalAvgPoolForward, x: Array) -> tuple[Array]:
    """x -> y [n, c]."""
    return (x.mean((2, 3)),)


def global_avg_pool_backward(spec: specs.GlobalAvgPoolBackward, dy: Array) -> tuple[Array]:
    """dy [n, c] -> dx."""
    n, c, h, w = spec.dx.n, spec.dx.c, spec.dx.h, spec.dx.w
    return (np.broadcast_to(dy.reshape(n, c, 1, 1) / (h * w), (n, c, h, w)),)


def act_forward(spec: specs.ActForward, x: Array) -> tuple[Array]:
    """x -> y."""
    return (activate(spec.act, x),)


def act_backward(spec: specs.ActBackward, dy: Array, saved: Array) -> tuple[Array]:
    """dy, x or y -> dx."""
    return (dy * slope(spec.act, saved),)


def dense_forward(spec: specs.DenseForward | specs.DenseForwardByOutput, x: Array, w: Array, b: Array) -> tuple[Array]:
    """x [n, in], w [out, in], b [out] -> y [n, out]."""
    z = x @ w.T
    return (activate(spec.act, z + b if spec.bias else z),)


def dense_dx(spec: specs.DenseBackwardInput, dy: Array, w: Array) -> tuple[Array]:
    """dy [n, out], w [out, in] -> dx [n, in]."""
    return (dy @ w,)


def dense_dw(spec: specs.DenseBackwardWeights, x: Array, dy: Array) -> tuple[Array, Array | None]:
    """x [n, in], dy [n, out] -> dw [out, in], db [out] (None without bias)."""
    return dy.T @ x, dy.sum(0) if spec.bias else None


def dense_dw_step(
    spec: specs.DenseBackwardWeightsStep, x: Array, dy: Array, parameters: Parts, states: Sequence[Parts], hyper: Array
) -> tuple[Parts, Parts, tuple[Parts, ...]]:
    """x [n, in], dy [n, out], (w, b), the states of (w, b), hyper -> the gradient of (w, b), new (w, b), new states."""
    gradient = dy.T @ x, dy.sum(0) if spec.bias else np.zeros(dy.shape[1])
    (w, w_states), (b, b_states) = (
        update(spec.update, array, part, np.reshape([state[at] for state in states], (-1, *array.shape)), hyper)
        for at, (array, part) in enumerate(zip(parameters, gradient, strict=True))
    )
    return gradient, (w, b), tuple(zip(w_states, b_states, strict=True))


def _softmax_ce(spec: specs.Loss, z: Array, target: Array) -> tuple[Array, Array]:
    shifted = z - z.max(1, keepdims=True)
    total = np.exp(shifted).sum(1, keepdims=True)
    target = (1 - spec.label_smoothing) * target + spec.label_smoothing / z.shape[1]
    if spec.class_weights:
        target = target * np.array(spec.class_weights)
    slope = np.exp(shifted) / total * target.sum(1, keepdims=True) - target
    return ((np.log(total) - shifted) * target).sum(1), slope


def _bce(spec: specs.Loss, z: Array, target: Array) -> tuple[Array, Array]:
    losses = (np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))).mean(1)
    return losses, (sigmoid(z) - target) / z.shape[1]


def _mse(spec: specs.Loss, z: Array, target: Array) -> tuple[Array, Array]:
    return ((z - target) ** 2).mean(1), 2 * (z - target) / z.shape[1]


def _mae(spec: specs.Loss, z: Array, target: Array) -> tuple[Array, Array]:
    return np.abs(z - target).mean(1), np.sign(z - target) / z.shape[1]


def _huber(spec: specs.Loss, z: Array, target: Array) -> tuple[Array, Array]:
    distance = np.abs(z - target)
    linear = distance > spec.delta
    losses = np.where(linear, spec.delta * (distance - spec.delta / 2), distance**2 / 2).mean(1)
    return losses, np.where(linear, spec.delta * np.sign(z - target), z - target) / z.shape[1]


#: Losses of samples and their slopes, from z and targets, both [n, outputs].
_LOSSES = {"softmax_ce": _softmax_ce, "bce": _bce, "mse": _mse, "mae": _mae, "huber": _huber}


def loss(spec: specs.Loss, z: Array, labels: Array, present: int) -> tuple[Array | None, Array, Array]:
    """z [n, outputs], labels [n], samples present -> dz [n, outputs] (or None), losses [n], preds [n]."""
    outputs = z.shape[1]
    here = np.arange(z.shape[0]) < present
    target = labels[:, None].astype(np.float64) if outputs == 1 else np.eye(outputs)[np.where(here, labels, 0)]
    losses, dz = _LOSSES[spec.kind](spec, z, target)
    if spec.class_weights:
        scale = present / np.array(spec.class_weights)[labels[:present]].sum()
        losses, dz = losses * scale, dz * scale
    preds = (z[:, 0] > spec.threshold).astype(np.uint32) if outputs == 1 else z.argmax(1).astype(np.uint32)
    return dz / present * here[:, None] if spec.gradient else None, losses * here, preds * here


_PROBABILITIES = {"softmax": softmax, "sigmoid": sigmoid}


def probabilities(spec: specs.Probabilities, z: Array) -> tuple[Array]:
    """z [n, outputs] -> p [n, outputs]."""
    return (_PROBABILITIES[spec.kind](z),)


def update(spec: specs.Update, params: Array, grads: Array, states: Array, hyper: Array) -> tuple[Array, Array]:
    """params [k], grads [k], states [n_states, k], hyper [3] (architecture.md) -> new params, new states."""
    lr, step, inv_sqrt_bc2 = hyper
    if spec.kind == "adamw":
        params = params - lr * spec.weight_decay * params
    else:
        grads = grads + spec.weight_decay * params
    if spec.kind == "sgd":
        return params - lr * grads, states
    if spec.kind in ("momentum", "nesterov"):
        velocity = spec.momentum * states[0] + grads
        direction = velocity if spec.kind == "momentum" else grads + spec.momentum * velocity
        return params - lr * direction, velocity[None]
    m = spec.beta1 * states[0] + (1 - spec.beta1) * grads
    v = spec.beta2 * states[1] + (1 - spec.beta2) * grads * grads
    return params - step * m / (np.sqrt(v) * inv_sqrt_bc2 + spec.eps), np.stack([m, v])


_OPS: dict[type[specs.KernelSpec], Callable[..., tuple[Any, ...]]] = {
    specs.LoadInput: load_input,
    specs.Conv2dForward: conv2d_forward,
    specs.Conv2dUnpool: conv2d_unpool,
    specs.Conv2dBackwardInput: conv2d_dx,
    specs.Conv2dBackwardWeights: conv2d_dw,
    specs.Conv2dBackwardWeightsSparse: conv2d_dw_pooled,
    specs.Conv2dBackwardWeightsPooled: conv2d_dw_pooled,
    specs.LiveEntries: live_entries,
    specs.Conv2dBackwardInputSparse: conv2d_dx_sparse,
    specs.Conv2dBackwardInputPooled: conv2d_dx_pooled,
    specs.Conv2dPackBackwardInput: conv2d_pack_dx,
    specs.Conv2dPackForward: conv2d_pack_fwd,
    specs.SumParts: sum_parts,
    specs.PoolForward: pool_forward,
    specs.PoolBackward: pool_backward,
    specs.GlobalAvgPoolForward: global_avg_pool_forward,
    specs.GlobalAvgPoolBackward: global_avg_pool_backward,
    specs.ActForward: act_forward,
    specs.ActBackward: act_backward,
    specs.DenseForward: dense_forward,
    specs.DenseForwardByOutput: dense_forward,
    specs.DenseBackwardInput: dense_dx,
    specs.DenseBackwardWeights: dense_dw,
    specs.DenseBackwardWeightsStep: dense_dw_step,
    specs.WinogradWeights: winograd_weights,
    specs.Conv2dForwardWinograd: conv2d_forward,
    specs.Conv2dBackwardInputWinograd: conv2d_dx,
    specs.Loss: loss,
    specs.Probabilities: probabilities,
    specs.Update: update,
}
