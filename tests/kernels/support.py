"""Small networks that together hold every op and fusion the planner knows: the shapes that all kernels are tried on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from asmgen import (
    ELU,
    GELU,
    SGD,
    Adam,
    AdamW,
    AvgPool2D,
    BatchNorm,
    BinaryCrossEntropy,
    Concat,
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    HardSwish,
    Huber,
    LeakyReLU,
    MaxPool2D,
    MeanAbsoluteError,
    MeanSquaredError,
    Model,
    Momentum,
    Nesterov,
    ReLU,
    ReLU6,
    Residual,
    Scale,
    Sigmoid,
    SiLU,
    SoftmaxCrossEntropy,
    Tanh,
)
from asmgen.asm.isa import ISAS
from asmgen.kernels import registry
from asmgen.plan import specs
from asmgen.plan.build import build_plan
from asmgen.plan.layout import LINE_BYTES, NO_HALO, DenseWeights, DenseWeightsByOutput, Image, Rows, round_up
from asmgen.plan.specs import KernelSpec
from asmgen.plan.winograd import SIZES

V = 1000  # channel counts are `V * lanes + rest`, written as 1000 * blocks + rest

_DATA = Dataset("none", scale=1 / 255)
_LOSS, _OPTIMIZER = MeanSquaredError(), SGD(lr=0.1)

NETWORKS = (
    Model(
        name="fused_max", input=(3, 12, 12), batch_size=3, data=_DATA,
        layers=[
            Conv2D(9, 3, padding="same"), ReLU(), MaxPool2D(2),
            Conv2D(17, 3, padding="same"), LeakyReLU(0.1), MaxPool2D(2),
            Conv2D(5, 2), MaxPool2D(2),
            Flatten(), Dense(21), ReLU(), Dense(10),
        ],
        loss=SoftmaxCrossEntropy(class_weights=(1, 2, 0.5, 1, 1, 3, 1, 1, 0.25, 1)),
        optimizer=Momentum(lr=0.1, momentum=0.9, weight_decay=0.01),
    ),
    Model(
        name="fused_average", input=(1, 17, 18), batch_size=2, data=_DATA,
        layers=[
            Conv2D(6, 5), ReLU(), AvgPool2D(2),
            Conv2D(20, 3), LeakyReLU(0.1), AvgPool2D(2),
            Conv2D(3, 1), AvgPool2D(2),
            Flatten(), Dense(1),
        ],
        loss=BinaryCrossEntropy(), optimizer=Adam(lr=0.01),
    ),
    Model(
        name="strides", input=(2, 15, 14), batch_size=2, data=_DATA,
        layers=[
            Conv2D(18, 5, stride=2, padding=2), LeakyReLU(0.1),
            Conv2D(33, (3, 2), stride=(2, 1), bias=False), ReLU(),
            Conv2D(4, 1), Tanh(), GELU(), SiLU(), ELU(0.5), HardSwish(), Flatten(), Dense(3, bias=False),
        ],
        loss=_LOSS, optimizer=Nesterov(lr=0.1, momentum=0.9),
    ),
    Model(
        name="norms", input=(3, 7, 9), batch_size=3, data=_DATA,
        layers=[
            Conv2D(21, 3, padding=1, bias=False), BatchNorm(), ReLU6(),
            Conv2D(9, 3, padding=1, bias=False), BatchNorm(), ReLU(), Conv2D(18, 1), ReLU6(),
            Conv2D(18, 3, stride=2, padding=1, groups=18), Tanh(), Conv2D(18, 3, padding=1, groups=18, bias=False),
            Conv2D(5, 3, bias=False), BatchNorm(eps=1e-3, momentum=None, bias=False), LeakyReLU(0.1),
            Flatten(), Dense(9, bias=False), BatchNorm(scale=False), Tanh(), Dropout(0.2), Dense(3),
        ],
        loss=Huber(0.5), optimizer=Momentum(lr=0.1, momentum=0.9),
    ),
    Model(
        name="pools", input=(5, 13, 15), batch_size=2, data=_DATA,
        layers=[
            Conv2D(7, 3, padding=1), Sigmoid(), MaxPool2D(3, 2), Tanh(),
            Conv2D(16, 3, padding=1), AvgPool2D(2, 1), ReLU(),
            Flatten(), Dense(2),
        ],
        loss=BinaryCrossEntropy(), optimizer=AdamW(lr=0.01, weight_decay=0.1),
    ),
    Model(
        name="windows", input=(3, 21, 22), batch_size=2, data=_DATA,
        layers=[
            Conv2D(9, 3, padding="same"), ReLU(), MaxPool2D(3, 2),
            Conv2D(17, 3, padding="same"), LeakyReLU(0.1), MaxPool2D((2, 3), (3, 2)),
            Conv2D(33, 3, padding=2), ReLU(), MaxPool2D(4), Flatten(), Dense(2),
        ],
        loss=BinaryCrossEntropy(), optimizer=SGD(lr=0.1),
    ),
    Model(
        name="residual", input=(3, 9, 10), batch_size=2, data=_DATA,
        layers=[
            Conv2D(9, 3, padding=1), ReLU(),
            Residual([Conv2D(9, 3, padding=1), ReLU(), Conv2D(9, 3, padding=1)]), ReLU(),
            Residual([Conv2D(17, 3, stride=2, padding=1)], [Conv2D(17, 1, stride=2)]), Sigmoid(),
            Concat([Conv2D(5, 1)], [Conv2D(9, 3, padding=1), ReLU()]),
            GlobalAvgPool(), Dense(8), Residual([Dense(8), Tanh()]), Dense(7), ReLU6(), Dense(2), Scale(1 / 9),
        ],
        loss=SoftmaxCrossEntropy(label_smoothing=0.1), optimizer=SGD(lr=0.1),
    ),
    Model(
        name="mlp", input=(1, 5, 7), batch_size=5, data=_DATA,
        layers=[
            Flatten(), Dense(37), LeakyReLU(0.1), Dense(64), Sigmoid(), Dense(8), Tanh(), Dense(16), ReLU(), Dense(1),
        ],
        loss=_LOSS, optimizer=_OPTIMIZER,
    ),
    Model(
        name="sigmoid_first", input=(3, 9, 8), batch_size=2, data=_DATA,
        layers=[Sigmoid(), AvgPool2D(3, 2), Conv2D(5, 3), Flatten(), Dense(2)],
        loss=MeanAbsoluteError(), optimizer=_OPTIMIZER,
    ),
    Model(
        name="joined_vectors", input=(3, 9, 8), batch_size=2, data=_DATA,
        layers=[
            Conv2D(9, 3, padding=1), ReLU(),
            Concat([Flatten()], [Conv2D(5, 3, padding=1), Flatten()], [Conv2D(17, 3), Flatten()], [GlobalAvgPool()]),
            Dense(2),
        ],
        loss=_LOSS, optimizer=_OPTIMIZER,
    ),
)  # fmt: skip


@cache
def every_spec(isa: str, dtype: str) -> tuple[KernelSpec, ...]:
    """The distinct kernels of all NETWORKS for one level and dtype, and those that a plan may hold beside them."""
    lanes = ISAS[isa].lanes(dtype)
    plans = [build_plan(replace(network, dtype=dtype), lanes) for network in NETWORKS]
    planned = dict.fromkeys(spec for plan in plans for spec in plan.specs())
    return (*planned, *dict.fromkeys(beside for spec in planned for beside in _beside(spec)))


def _beside(spec: KernelSpec) -> list[KernelSpec]:
    """Kernels for the same layer that the planner takes only for some shapes."""
    found: list[KernelSpec] = []
    if isinstance(spec, specs.Conv2dForward):
        conv, dy, dx, pool = spec.conv, replace(spec.y, halo=NO_HALO), replace(spec.conv.x, halo=NO_HALO), spec.pool
        found = [
            specs.Conv2dPackForward(conv.weights.by_input()),
            specs.LiveEntries(conv, dy, pool),
            specs.Conv2dBackwardInputSparse(conv, dy, dx, pool),
            specs.LiveEntries(conv, dy, pool, has_codes=True),
            specs.Conv2dBackwardInputSparse(conv, dy, dx, pool, has_codes=True),
            specs.Conv2dBackwardWeightsSparse(conv, dy, pool),
        ]
        if pool and conv.x.block == 1:
            found.append(specs.Conv2dBackwardWeightsPooled(conv, dy, pool))
        for m in SIZES:
            found.append(specs.Conv2dForwardWinograd(conv, spec.y, spec.act, pool, spec.codes, m))
            found.append(specs.WinogradWeights(conv.weights, m, mirrored=False))
            found.append(specs.WinogradWeights(conv.weights.by_input(), m, mirrored=True))
    elif isinstance(spec, specs.Loss):
        found = [specs.Probabilities(kind, spec.z) for kind in ("softmax", "sigmoid")]
    elif isinstance(spec, specs.PoolForward):
        x = spec.x
        means = Rows(x.n, x.c, x.block, x.dtype)
        found = [specs.GlobalAvgPoolForward(x, means), specs.GlobalAvgPoolBackward(means, x)]
    elif isinstance(spec, specs.ActForward):
        found = [specs.Add(spec.x, spec.x, spec.y), specs.Add(spec.y, spec.x, spec.x)]
        if isinstance(spec.y, Image):
            whole = replace(spec.y, c=spec.y.c + 3)
            found += [specs.ConcatForward(spec.y, whole, 1), specs.ConcatBackward(whole, spec.y, 3)]
    elif isinstance(spec, specs.Conv2dBackwardInput):
        found = [specs.Conv2dBackwardInputWinograd(spec.conv, spec.dz, spec.dx, m) for m in SIZES]
    elif isinstance(spec, specs.DenseForward):
        what = spec.y, spec.bias, spec.act
        found = [specs.DenseForwardByOutput(spec.x, w, *what) for w in (spec.weights, spec.weights.by_output())]
    elif isinstance(spec, specs.DenseBackwardWeightsStep) and isinstance(spec.weights, DenseWeights):
        by_output = spec.weights.by_output()
        stored = [specs.DenseBackwardWeights(spec.x, spec.dy, w, spec.bias) for w in (spec.weights, by_output)]
        found = [_update_by_output(spec, by_output), *stored]
    elif isinstance(spec, specs.Conv2dBackwardWeights):
        n = spec.conv.x.n
        found = [replace(spec, sample_parts=n), specs.SumParts.of(spec.dw, n, bias=spec.conv.bias)]
    return [beside for beside in found if type(beside) in registry._EMITTERS and _fits(beside)]


def _update_by_output(
    spec: specs.DenseBackwardWeightsStep, weights: DenseWeightsByOutput
) -> specs.DenseBackwardWeightsStep:
    """The same step over weights that lie by output, with states where that leaves room for them."""
    step = replace(spec.update, n_vectors=weights.size_bytes // (weights.block * weights.element_bytes))
    apart = round_up(max(weights.size_bytes, *spec.state_bytes[:1], 0), LINE_BYTES)
    states = tuple(apart * (1 + at) for at in range(step.n_states))
    return replace(spec, weights=weights, update=step, state_bytes=states)


def _fits(spec: KernelSpec) -> bool:
    try:
        spec.check()
    except ValueError:
        return False
    return True


def channels(count: int, lanes: int) -> int:
    """The number of channels that `blocks * V + rest` stands for: at least 1; rest may be negative."""
    blocks, rest = divmod(count + V // 2, V)
    return max(1, blocks * lanes + rest - V // 2)
