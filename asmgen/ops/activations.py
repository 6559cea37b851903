"""The activations that there are, by what kernels call them."""

from __future__ import annotations

from asmgen.ops.base import Elementwise
from asmgen.ops.elu import ELU
from asmgen.ops.gelu import GELU
from asmgen.ops.hard_swish import HardSwish
from asmgen.ops.leaky_relu import LeakyReLU
from asmgen.ops.relu import ReLU
from asmgen.ops.relu6 import ReLU6
from asmgen.ops.scale import Scale
from asmgen.ops.sigmoid import Sigmoid
from asmgen.ops.silu import SiLU
from asmgen.ops.tanh import Tanh

ACTIVATIONS: dict[str, type[Elementwise]] = {
    op.symbol: op for op in (ReLU, LeakyReLU, ReLU6, ELU, Sigmoid, Tanh, GELU, SiLU, HardSwish, Scale)
}
