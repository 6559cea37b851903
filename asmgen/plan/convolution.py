"""What forward and backward both ask about a convolution."""

from asmgen.model.layers import Conv2D
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group
from asmgen.plan.layout import ConvWeights, Halo, Image
from asmgen.plan.policy import PoolGradients
from asmgen.plan.specs import Conv, Pool


def conv_of(group: Group, x: Image, lanes: int) -> Conv:
    """The convolution of a group, with the outputs that its pool reads."""
    layer = group.placed.layer
    assert isinstance(layer, Conv2D)
    weights = ConvWeights(layer.filters, x.c, *layer.kernel, lanes, x.dtype)
    top, _, left, _ = layer.pads
    return Conv(x, weights, *_outputs(group), *layer.stride, top, left, layer.bias)


def gradients(draft: Draft, number: int, group: Group) -> PoolGradients:
    """How a convolution's gradients are computed."""
    if not is_sparse(group):
        return "stored"
    assert group.pool is not None
    has_parameters_below = bool(draft.parameters) and draft.parameters[0].group < number
    return draft.policy.behind_max_pool(draft.convs[number], group.pool, has_parameters_below)


def winograd_fits(pool: Pool | None) -> bool:
    """Whether the output transform can pool, of what an epilogue can: its tiles hold windows of at most 2 x 2."""
    return pool is None or max(pool.ph, pool.pw) <= 2


def is_sparse(group: Group) -> bool:
    """Whether at most one position in every window of the convolution's output has a gradient."""
    return group.pool is not None and group.pool.kind == "max" and group.pool.n_positions > 1


def has_sparse_dw(group: Group, x: Image) -> bool:
    """Whether the weight gradient walks live entries: its lanes are then input channels, which a planar input lacks."""
    return is_sparse(group) and x.block > 1


def conv_halo(group: Group) -> Halo:
    """How far the convolution's taps reach beyond its input, with the outputs it computes."""
    layer = group.placed.layer
    assert isinstance(layer, Conv2D)
    _, h, w = group.in_shape
    oh, ow = _outputs(group)
    top, _, left, _ = layer.pads
    reach_h = (oh - 1) * layer.stride[0] + layer.kernel[0] - top
    reach_w = (ow - 1) * layer.stride[1] + layer.kernel[1] - left
    return Halo(top, max(0, reach_h - h), left, max(0, reach_w - w))


def _outputs(group: Group) -> tuple[int, int]:
    """Rows and columns of the convolution's output that are computed: those that its pool reads."""
    _, h, w = group.out_shape
    return group.pool.extent(h, w) if group.pool else (h, w)


def dz_halo(conv: Conv) -> Halo:
    """How far the input gradient's taps reach beyond dz: dx[h] needs dz[(h + pt - i) / sh] for every tap i."""
    kh, kw = conv.weights.kh, conv.weights.kw
    return Halo(
        max(0, (kh - 1 - conv.pt) // conv.sh),
        max(0, (conv.x.h - 1 + conv.pt) // conv.sh - (conv.oh - 1)),
        max(0, (kw - 1 - conv.pl) // conv.sw),
        max(0, (conv.x.w - 1 + conv.pl) // conv.sw - (conv.ow - 1)),
    )
