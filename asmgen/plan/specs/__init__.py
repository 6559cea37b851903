"""KernelSpec: what a kernel computes, for one exact shape. A kernel is emitted once per distinct spec.

Specs are frozen, hashable and printable; layouts inside them fix every stride. `check()` holds the assumptions that
emitters rely on. Argument order and slice units: docs/architecture.md, Kernel ABI.
"""

from asmgen.plan.specs.activations import TRAITS, Activation, Traits, activation_of, entry_of, op_of
from asmgen.plan.specs.add import Add
from asmgen.plan.specs.base import (
    KernelSpec,
    Pool,
    activations_tag,
    dtype_tag,
    halo_tag,
    image_tag,
)
from asmgen.plan.specs.batch_norm import (
    BatchNormBackwardInput,
    BatchNormBackwardWeights,
    BatchNormForward,
    BatchNormFrozen,
    BatchNormGradientParts,
    BatchNormMoments,
    BatchNormParts,
    BatchNormRunning,
)
from asmgen.plan.specs.concat import ChannelRange, ConcatBackward, ConcatForward
from asmgen.plan.specs.conv import (
    Conv,
    Conv2dBackwardInput,
    Conv2dBackwardWeights,
    Conv2dForward,
    Conv2dPackBackwardInput,
    Conv2dUnpool,
    Pixels,
)
from asmgen.plan.specs.dense import (
    DenseBackwardInput,
    DenseBackwardWeights,
    DenseBackwardWeightsStep,
    DenseForward,
    DenseForwardByOutput,
)
from asmgen.plan.specs.depthwise import (
    Depthwise,
    DepthwiseBackwardInput,
    DepthwiseBackwardWeights,
    DepthwiseForward,
)
from asmgen.plan.specs.dropout import Dropout
from asmgen.plan.specs.elementwise import ActBackward, ActForward
from asmgen.plan.specs.global_avg_pool import GlobalAvgPoolBackward, GlobalAvgPoolForward
from asmgen.plan.specs.in_order import InOrderBackward, InOrderForward
from asmgen.plan.specs.input import LoadInput
from asmgen.plan.specs.loss import Loss, Probabilities
from asmgen.plan.specs.optimizer import Update
from asmgen.plan.specs.pool import PoolBackward, PoolForward
from asmgen.plan.specs.sparse import (
    Conv2dBackwardInputPooled,
    Conv2dBackwardInputSparse,
    Conv2dBackwardWeightsPooled,
    Conv2dBackwardWeightsSparse,
    Conv2dPackForward,
    LiveEntries,
)
from asmgen.plan.specs.sum_parts import SumParts, part_stride_bytes
from asmgen.plan.specs.winograd import Conv2dBackwardInputWinograd, Conv2dForwardWinograd, WinogradWeights

ConvWeightGradient = Conv2dBackwardWeights | Conv2dBackwardWeightsSparse | Conv2dBackwardWeightsPooled
#: Weight gradients that may be summed in parts of the samples.
GradientInParts = ConvWeightGradient | DepthwiseBackwardWeights
DenseWeightGradient = DenseBackwardWeights | DenseBackwardWeightsStep

__all__ = [
    "TRAITS",
    "ActBackward",
    "ActForward",
    "Activation",
    "Add",
    "BatchNormBackwardInput",
    "BatchNormBackwardWeights",
    "BatchNormForward",
    "BatchNormFrozen",
    "BatchNormGradientParts",
    "BatchNormMoments",
    "BatchNormParts",
    "BatchNormRunning",
    "ChannelRange",
    "ConcatBackward",
    "ConcatForward",
    "Conv",
    "Conv2dBackwardInput",
    "Conv2dBackwardInputPooled",
    "Conv2dBackwardInputSparse",
    "Conv2dBackwardInputWinograd",
    "Conv2dBackwardWeights",
    "Conv2dBackwardWeightsPooled",
    "Conv2dBackwardWeightsSparse",
    "Conv2dForward",
    "Conv2dForwardWinograd",
    "Conv2dPackBackwardInput",
    "Conv2dPackForward",
    "Conv2dUnpool",
    "ConvWeightGradient",
    "DenseBackwardInput",
    "DenseBackwardWeights",
    "DenseBackwardWeightsStep",
    "DenseForward",
    "DenseForwardByOutput",
    "Depthwise",
    "DepthwiseBackwardInput",
    "DepthwiseBackwardWeights",
    "DepthwiseForward",
    "Dropout",
    "GlobalAvgPoolBackward",
    "GlobalAvgPoolForward",
    "GradientInParts",
    "InOrderBackward",
    "InOrderForward",
    "KernelSpec",
    "LiveEntries",
    "LoadInput",
    "Loss",
    "Pixels",
    "Pool",
    "PoolBackward",
    "PoolForward",
    "Probabilities",
    "SumParts",
    "Traits",
    "Update",
    "WinogradWeights",
    "activation_of",
    "activations_tag",
    "dtype_tag",
    "entry_of",
    "halo_tag",
    "image_tag",
    "op_of",
    "part_stride_bytes",
]
