"""Cases of the optimizer's step: alone, and behind the weight gradient of a dense layer; and of that gradient alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from asmgen.harness.cases.case import Array, Case, Draw, Expected, Operand, unwritten_weights, weights_padding_check
from asmgen.plan import specs
from asmgen.plan.layout import DenseWeights, DenseWeightsByOutput
from asmgen.reference import ops

_LR = 0.01
_BETA2 = 0.5  # in the hyper block of an optimizer without one


def update(spec: specs.Update, draw: Draw) -> Iterable[Case]:
    """Bounds: `step_bounds` of an exact gradient."""
    size = spec.n_vectors * spec.block
    params, grads = draw(size), draw(size) * 0.5
    states = _states(spec, draw, size)
    for values in (params, grads, *states):
        values[size // 2 : size // 2 + max(1, spec.block // 2)] = 0  # padding must stay zero
    hyper = _hyper(spec, draw, t=3)
    new_params, new_states = ops.run(spec, params, grads, states, hyper)
    param_bound, state_bound = step_bounds(spec, draw, params, grads, 0.0, states, hyper)

    def flat(values: Array) -> Array:
        return np.asarray(values, spec.dtype).reshape(-1)

    operands = [
        Operand("params", flat(params), is_output=True),
        Operand("grads", flat(grads)),
        None,
        Operand("hyper", flat(hyper)),
    ]
    expected = [Expected("params", 0, lambda m: m, new_params, param_bound)]
    if spec.n_states:
        operands[2] = Operand("states", flat(states), is_output=True)
        expected.append(Expected("states", 2, lambda m: m, new_states.reshape(-1), state_bound.reshape(-1)))
    yield Case("", tuple(operands), tuple(expected))


def dense_dw(spec: specs.DenseBackwardWeights, draw: Draw) -> Iterable[Case]:
    """Bound: a sum of n products."""
    weights, n = spec.weights, spec.x.n
    x, dy = draw(n, spec.x.features), draw(n, weights.out)
    dw, db = ops.run(spec, x, dy)
    dw_magnitude, db_magnitude = ops.run(spec, np.abs(x), np.abs(dy))
    before = unwritten_weights(weights, bias=spec.bias)
    if isinstance(weights, DenseWeights):  # a vector's biases behind the rows are never written
        before[weights.bias_offset_bytes // weights.element_bytes + weights.n_rows :] = 0
    expected = [Expected("dw", 2, lambda m: weights.unpack(m)[0], dw, draw.bound(n, dw_magnitude, exact=True))]
    if spec.bias:
        bound = draw.bound(n, db_magnitude, exact=True)
        expected.append(Expected("db", 2, lambda m: weights.unpack(m)[1], db, bound))
    operands = (
        Operand("x", spec.x.pack(x)),
        Operand("dy", spec.dy.pack(dy)),
        Operand("dw", before, is_output=True),
    )
    yield Case("", operands, tuple(expected), (weights_padding_check("dw", 2, weights),))


def dense_dw_step(spec: specs.DenseBackwardWeightsStep, draw: Draw) -> Iterable[Case]:
    """The gradient is a sum of n products; `step_bounds` says what its error becomes.

    Some step; and the first one with gradients about as large as eps, where Adam magnifies every error.
    """
    yield _dense_dw_step(spec, draw, "", 1.0, 3)
    if spec.update.eps:
        yield _dense_dw_step(spec, draw, "first step, gradients near eps", spec.update.eps, 1)


def _dense_dw_step(spec: specs.DenseBackwardWeightsStep, draw: Draw, title: str, scale: float, t: int) -> Case:
    """A case of step t, gradients scaled; the states of a first step are zero."""
    weights, n, step = spec.weights, spec.x.n, spec.update
    x, dy = draw(n, spec.x.features), draw.round(draw(n, weights.out) * scale)
    shapes = [(weights.out, spec.x.features), (weights.out,)]
    parameters = draw(*shapes[0]), draw(*shapes[1]) * spec.bias
    parts = [_states(step, draw, *shape) * (t > 1) for shape in shapes]
    parts[1] *= spec.bias
    states = list(zip(*parts, strict=True))
    hyper = _hyper(step, draw, t)
    gradient, new, new_states = ops.run(spec, x, dy, parameters, states, hyper)
    sums = np.abs(dy).T @ np.abs(x), np.abs(dy).sum(0)
    errors = [np.broadcast_to(draw.bound(n, magnitude, exact=scale == 1), magnitude.shape) for magnitude in sums]
    bounds = [
        step_bounds(step, draw, array, part, error, state, hyper)
        for array, part, error, state in zip(parameters, gradient, errors, parts, strict=True)
    ]
    memory = _Block(weights, spec.state_bytes)
    expected = []
    for block, values in enumerate([new, *new_states]):
        for at, part in enumerate(("weight", "bias")):
            bound = (bounds[at][0] if block == 0 else bounds[at][1][block - 1]) * (at == 0 or spec.bias)
            name = f"{'state ' + str(block) if block else 'w'} {part}"
            expected.append(Expected(name, 2, memory.unpack(block, at), values[at], bound))
    operands = (
        Operand("x", spec.x.pack(x)),
        Operand("dy", spec.dy.pack(dy)),
        Operand("w, states", memory.pack([parameters, *states]), is_output=True),
        Operand("hyper", np.asarray(hyper, step.dtype)),
    )
    return Case(title, operands, tuple(expected), (memory.padding_check,))


class _Block:
    """The memory of a parameter block and the states behind it, as one operand."""

    def __init__(self, layout: DenseWeights | DenseWeightsByOutput, distances: tuple[int, ...]) -> None:
        self.layout = layout
        size = layout.size_bytes // layout.element_bytes
        self.spans = [slice(at, at + size) for at in (d // layout.element_bytes for d in (0, *distances))]

    def pack(self, blocks: list[tuple[Array, Array]]) -> Array:
        flat = np.zeros(self.spans[-1].stop, self.layout.dtype)
        for span, block in zip(self.spans, blocks, strict=True):
            flat[span] = self.layout.pack(*block)
        return flat

    def unpack(self, block: int, part: int) -> Callable[[Array], Array]:
        return lambda flat: self.layout.unpack(flat[self.spans[block]])[part]

    def padding_check(self, memory: list[Array]) -> Iterable[str]:
        """Padding of every block holds zeros, and so does what lies between them."""
        between = memory[2].copy()
        for at, span in enumerate(self.spans):
            name = f"state {at}" if at else "w"
            yield from weights_padding_check(name, 0, self.layout)([memory[2][span]])
            between[span] = 0
        if between.any():
            yield f"memory between w and its states was written, at element {np.flatnonzero(between)[0]}"


def _states(spec: specs.Update, draw: Draw, *shape: int) -> Array:
    """[n_states, *shape]; the second moment is positive."""
    return np.stack([draw(*shape), np.abs(draw(*shape)) + draw.round(1e-3)])[: spec.n_states]


def _hyper(spec: specs.Update, draw: Draw, t: int) -> Array:
    """The hyper block of step t."""
    return draw.round([_LR, _LR / (1 - spec.beta1**t), 1 / np.sqrt(1 - (spec.beta2 or _BETA2) ** t)])


def step_bounds(
    spec: specs.Update,
    draw: Draw,
    params: Array,
    grads: Array,
    error: Array | float,
    states: Array,
    hyper: Array,
) -> tuple[Array, Array]:
    """(of the parameters, of the states): the errors after a step whose gradients are off by at most `error`.

    SGD and momentum are short chains of products and sums. Adam's quotient m / (sqrt(v) c + eps) is taken at the ends
    of the intervals that m and v lie in: where v is as small as its error, that is wide, and no step is wrong there.
    """
    lr, step, c = hyper
    p, s = np.abs(params), np.abs(states)
    g = np.abs(grads) + error + spec.weight_decay * p * (spec.kind != "adamw")
    g_error = error + draw.bound(2, g)
    param_bound: Array | float
    if spec.kind == "sgd":
        param_bound, state_bound = lr * g_error + draw.bound(3, p + lr * g), s
    elif spec.kind in ("momentum", "nesterov"):
        velocity = spec.momentum * s[0] + g
        v_error = g_error + draw.bound(3, velocity)
        is_nesterov = spec.kind == "nesterov"
        direction = g + spec.momentum * velocity if is_nesterov else velocity
        direction_error = g_error + spec.momentum * v_error + draw.bound(2, direction) if is_nesterov else v_error
        param_bound, state_bound = lr * direction_error + draw.bound(3, p + lr * direction), np.asarray(v_error)[None]
    else:
        _, (m, v) = ops.run(spec, params, grads, states, hyper)
        m_error = (1 - spec.beta1) * g_error + draw.bound(4, spec.beta1 * s[0] + (1 - spec.beta1) * g)
        v_error = (1 - spec.beta2) * (2 * g + g_error) * g_error
        v_error = v_error + draw.bound(5, spec.beta2 * s[1] + (1 - spec.beta2) * g * g)
        low, high = (np.sqrt(np.maximum(v + sign * v_error, 0)) for sign in (-1, 1))
        divisors = (low * c + spec.eps) * (1 - 4 * draw.eps), (high * c + spec.eps) * (1 + 4 * draw.eps)
        ends = [(m + sign * m_error) / divisor for sign in (-1, 1) for divisor in divisors]
        quotient = m / (np.sqrt(v) * c + spec.eps)
        off = np.max([np.abs(end - quotient) for end in ends], axis=0)
        largest = np.abs(quotient) + off
        param_bound = step * (off + draw.bound(4, largest)) + draw.bound(4, 2 * p + step * largest)
        state_bound = np.stack([m_error, v_error])
    still = (p + g + s.sum(0)) == 0
    return np.where(still, 0.0, param_bound), np.where(still, 0.0, state_bound)
