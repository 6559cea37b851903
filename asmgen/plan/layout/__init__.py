"""Where every element of every tensor lies: the only place that turns shapes into strides and bytes.

Layouts are described in docs/architecture.md. All of them are frozen and know how to pack a plain NumPy array into
their flat form and back, which is how the reference and the tests look at a kernel's memory.
"""

from asmgen.plan.layout.channel_vectors import ChannelVectors, NormParts, NormTable, RunningVectors, pixels_of
from asmgen.plan.layout.conv_weights import ConvWeights, ConvWeightsByInput
from asmgen.plan.layout.dense_weights import DenseWeights, DenseWeightsByOutput
from asmgen.plan.layout.image import NO_HALO, Halo, Image
from asmgen.plan.layout.rows import Activations, Rows
from asmgen.plan.layout.units import DENSE_QUAD, ELEMENT_BYTES, LINE_BYTES, round_up

__all__ = [
    "DENSE_QUAD",
    "ELEMENT_BYTES",
    "LINE_BYTES",
    "NO_HALO",
    "Activations",
    "ChannelVectors",
    "ConvWeights",
    "ConvWeightsByInput",
    "DenseWeights",
    "DenseWeightsByOutput",
    "Halo",
    "Image",
    "NormParts",
    "NormTable",
    "Rows",
    "RunningVectors",
    "pixels_of",
    "round_up",
]
