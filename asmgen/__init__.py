"""asmgen: neural networks become static x86-64 executables that train them. These names describe a model."""

from asmgen.model.dataset import Dataset
from asmgen.model.init import FromFile, HeNormal, HeUniform, XavierNormal, XavierUniform, Zeros
from asmgen.model.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from asmgen.model.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from asmgen.model.network import Model
from asmgen.model.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from asmgen.model.options import OneOf
from asmgen.version import __version__

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AvgPool2D",
    "BinaryCrossEntropy",
    "Conv2D",
    "Dataset",
    "Dense",
    "Flatten",
    "FromFile",
    "HeNormal",
    "HeUniform",
    "LeakyReLU",
    "MaxPool2D",
    "MeanSquaredError",
    "Model",
    "Momentum",
    "Nesterov",
    "OneOf",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Tanh",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "__version__",
]
