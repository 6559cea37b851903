"""asmgen: neural networks become static x86-64 executables that train them. These names describe a model."""

from asmgen.model.dataset import Dataset
from asmgen.model.network import Model
from asmgen.model.options import OneOf
from asmgen.ops.add import Add, Residual
from asmgen.ops.batch_norm import BatchNorm
from asmgen.ops.concat import Concat
from asmgen.ops.conv2d import Conv2D
from asmgen.ops.dense import Dense
from asmgen.ops.dropout import Dropout
from asmgen.ops.elu import ELU
from asmgen.ops.flatten import Flatten
from asmgen.ops.gelu import GELU
from asmgen.ops.global_avg_pool import GlobalAvgPool
from asmgen.ops.hard_swish import HardSwish
from asmgen.ops.init import FromFile, HeNormal, HeUniform, Ones, XavierNormal, XavierUniform, Zeros
from asmgen.ops.leaky_relu import LeakyReLU
from asmgen.ops.losses import BinaryCrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError, SoftmaxCrossEntropy
from asmgen.ops.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from asmgen.ops.pool import AvgPool2D, MaxPool2D
from asmgen.ops.relu import ReLU
from asmgen.ops.relu6 import ReLU6
from asmgen.ops.scale import Scale
from asmgen.ops.sigmoid import Sigmoid
from asmgen.ops.silu import SiLU
from asmgen.ops.softmax import Softmax
from asmgen.ops.subsample import Subsample
from asmgen.ops.symbol import Input
from asmgen.ops.tanh import Tanh
from asmgen.version import __version__

__all__ = [
    "ELU",
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "Add",
    "AvgPool2D",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Concat",
    "Conv2D",
    "Dataset",
    "Dense",
    "Dropout",
    "Flatten",
    "FromFile",
    "GlobalAvgPool",
    "HardSwish",
    "HeNormal",
    "HeUniform",
    "Huber",
    "Input",
    "LeakyReLU",
    "MaxPool2D",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Model",
    "Momentum",
    "Nesterov",
    "OneOf",
    "Ones",
    "ReLU",
    "ReLU6",
    "Residual",
    "Scale",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Subsample",
    "Tanh",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "__version__",
]
