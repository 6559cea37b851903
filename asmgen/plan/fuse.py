"""Groups layers into the units whose gradients are computed together: conv + activation + pool, dense + act, ..."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.errors import UnsupportedError
from asmgen.model import layers
from asmgen.model.geometry import LayerShape, Shape
from asmgen.model.layers import AvgPool2D, Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, ReLU, Sigmoid, Tanh
from asmgen.model.network import Model
from asmgen.model.shapes import infer_shapes, logit_layers
from asmgen.plan.specs import Activation, Pool, pool_tag

MAX_FUSED_WINDOW = 9  # accumulators of one pooled pixel; fits the 16 vector registers of SSE4.1 and AVX2
MAX_LIVE_BITS = 8  # the live bits of an average pool are one byte per pooled value


@dataclass(frozen=True)
class Group:
    """Layers computed together. `kind`: "conv", "dense", "pool" or "act"; `act` and `pool` are those that belong to it.

    `placed` is the layer that names the group and its parameters (the convolution, the dense layer, ...). A
    convolution's max pool belongs to it whatever its window is; `pools_in_epilogue` says whether in forward, too.
    """

    kind: str
    placed: LayerShape
    in_shape: Shape
    out_shape: Shape
    act: Activation
    pool: Pool | None

    @property
    def where(self) -> str:
        return self.placed.where

    @property
    def pools_in_epilogue(self) -> bool:
        """Whether the convolution's own kernel pools: windows that tile and are small enough. Another max pool is a
        kernel of its own, on the activated values."""
        return self.pool is not None and _fits_epilogue(self.pool)

    def text(self, op: str) -> str:
        """`conv2d+bias+relu+maxpool2`: the plan's word for `op` with what is fused; "d" is its gradient."""
        words = [op] if op and op != "d" else []
        if self.act:
            words.append(self.act.kind)
        if self.pool:
            words.append(pool_tag(self.pool).removeprefix("_"))
        text = "+".join(words) or "copy"
        return f"d({text})" if op == "d" else text


def fuse(model: Model) -> list[Group]:
    """The groups of a model in order. A Flatten belongs to no group: it is a view.

    Raises UnsupportedError for a pool or activation before the first layer with weights.
    """
    shapes = infer_shapes(model)[: len(logit_layers(model))]
    groups: list[Group] = []
    position = 0
    while position < len(shapes):
        group, position = _take(shapes, position)
        groups.extend(group)
    if groups[0].kind in ("pool", "act"):
        raise UnsupportedError(
            groups[0].where,
            f"{groups[0].placed.label}: works on the raw input, which has no kernel; put a Conv2D or Dense before it",
        )
    return groups


def activation_of(placed: LayerShape) -> Activation | None:
    """The activation that a layer is, if it is one. Raises UnsupportedError for one without kernels."""
    match placed.layer:
        case ReLU():
            return Activation("relu")
        case LeakyReLU(alpha=alpha):
            return Activation("leaky_relu", alpha)
        case Sigmoid():
            return Activation("sigmoid")
        case Tanh():
            return Activation("tanh")
        case layers.Activation():
            raise UnsupportedError(placed.where, f"{placed.label}: has no kernels")
    return None


def pool_of(placed: LayerShape) -> Pool | None:
    """The pool that a layer is, if it is one."""
    match placed.layer:
        case MaxPool2D(window=window, stride=stride):
            return Pool("max", *window, *stride)
        case AvgPool2D(window=window, stride=stride):
            return Pool("avg", *window, *stride)
    return None


def _take(shapes: list[LayerShape], position: int) -> tuple[list[Group], int]:
    """The group or groups that begin at `position`, and where the next one begins."""
    placed = shapes[position]
    following = shapes[position + 1 : position + 3]
    match placed.layer:
        case Flatten():
            return [], position + 1
        case Dense():
            act = activation_of(following[0]) if following else None
            if act is not None and act.traits.is_fusible and act.traits.slope_from == "y":  # x is never stored
                return [_group("dense", [placed, following[0]], act, None)], position + 2
            return [_group("dense", [placed], Activation(), None)], position + 1
        case Conv2D():
            return _take_conv(placed, following, position)
    act, pool = activation_of(placed), pool_of(placed)
    if pool is not None:
        return [_group("pool", [placed], Activation(), pool)], position + 1
    assert act is not None, placed
    return [_group("act", [placed], act, None)], position + 1


def _take_conv(placed: LayerShape, following: list[LayerShape], position: int) -> tuple[list[Group], int]:
    """A convolution with what follows it: activation then pool, or max pool then activation (the same function)."""
    acts = [activation_of(layer) for layer in following]
    pools = [pool_of(layer) for layer in following]
    act: Activation | None = None
    pool: Pool | None = None
    order: list[int] = []
    if len(following) == 2 and acts[0] and pools[1] and _fits(acts[0], pools[1]):
        act, pool, order = acts[0], pools[1], [1, 0]
    elif len(following) == 2 and pools[0] and acts[1] and pools[0].kind == "max" and _fits(acts[1], pools[0]):
        act, pool, order = acts[1], pools[0], [0, 1]
    elif following and pools[0] and _fits(Activation(), pools[0]):
        act, pool, order = Activation(), pools[0], [0]
    elif following and acts[0]:
        act, order = acts[0], [0]
    members = [placed, *(following[i] for i in sorted(order))]
    if act is None or _is_in_epilogue(act):
        return [_group("conv", members, act or Activation(), pool)], position + len(members)
    # Others get a kernel of their own; behind a max pool it works on the pooled values alone.
    if pool is None:
        return [_group("conv", [placed], Activation(), None)], position + 1
    conv = _group("conv", members, Activation(), pool)
    return [conv, Group("act", following[acts.index(act)], conv.out_shape, conv.out_shape, act, None)], position + 3


def _fits(act: Activation, pool: Pool) -> bool:
    """Whether the pool belongs to the convolution: its gradient is one that codes can tell."""
    if pool.kind == "max":
        return act.traits.is_monotone and (_fits_epilogue(pool) or pool.n_positions > 1)
    return _fits_epilogue(pool) and (not act or (_is_in_epilogue(act) and pool.n_positions <= MAX_LIVE_BITS))


def _is_in_epilogue(act: Activation) -> bool:
    """Whether a convolution applies it: its gradient is one that Conv2dUnpool can tell."""
    return act.traits.is_fusible and act.traits.is_gate


def _fits_epilogue(pool: Pool) -> bool:
    return pool.is_tiling and pool.n_positions <= MAX_FUSED_WINDOW


def _group(kind: str, members: list[LayerShape], act: Activation, pool: Pool | None) -> Group:
    return Group(kind, members[0], members[0].in_shape, members[-1].out_shape, act, pool)
