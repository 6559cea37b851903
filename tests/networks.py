"""Small networks that together hold every fusion the planner knows, with random parameters and batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from asmgen import (
    ELU,
    GELU,
    SGD,
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
    ReLU,
    ReLU6,
    Residual,
    Scale,
    Sigmoid,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Subsample,
    Tanh,
)
from asmgen.graph.differentiate import differentiate, gradient_name
from asmgen.graph.fuse import fuse
from asmgen.graph.simplify import simplify
from asmgen.model.trace import classes_of, parameters_of, trace

# Each list is one network's layers before its dense output; together they hold every fusion the planner knows.
NETWORKS = {
    "mlp": ([Flatten(), Dense(7), ReLU(), Dense(5), Sigmoid(), Dense(6), LeakyReLU(0.1), Dense(4), Tanh()], 4),
    "conv_relu_maxpool": ([Conv2D(5, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten()], 4),
    "conv_maxpool_relu": ([Conv2D(5, 3, padding=1), MaxPool2D(2), ReLU(), Conv2D(3, 2), MaxPool2D(3), Flatten()], 3),
    "conv_relu_avgpool": ([Conv2D(5, 3), LeakyReLU(0.2), AvgPool2D(2), Conv2D(4, 3, padding=1), Flatten()], 1),
    "conv_tanh_maxpool": ([Conv2D(3, 5, padding=2), Tanh(), MaxPool2D(2), Conv2D(4, 3), Sigmoid(), Flatten()], 2),
    "conv_sigmoid_avgpool": ([Conv2D(3, 3), Sigmoid(), AvgPool2D(2), Flatten()], 2),
    "overlapping_pools": ([Conv2D(4, 3), ReLU(), MaxPool2D(3, 2), Conv2D(3, 2), AvgPool2D(2, 1), Flatten()], 2),
    "conv_flatten_relu": ([Conv2D(3, 3), Flatten(), ReLU()], 2),
    "conv_gelu_maxpool": ([Conv2D(5, 3, padding=1), GELU(), MaxPool2D(2), Flatten(), Dense(7), GELU()], 3),
    "conv_silu_avgpool": ([Conv2D(5, 3), SiLU(), AvgPool2D(2), Conv2D(4, 2), SiLU(), Flatten(), Dense(6), SiLU()], 2),
    # Factors that bring values to both ends of ReLU6 and HardSwish.
    "conv_relu6": (
        [
            Conv2D(5, 3, padding=1),
            Scale(8.0),
            ReLU6(),
            Conv2D(4, 3, padding=1),
            ReLU6(),
            Flatten(),
            Dense(6),
            ReLU6(),
            Scale(-0.5),
        ],
        3,
    ),
    "conv_relu6_pools": (
        [
            Scale(8.0),
            Conv2D(5, 3, padding=1),
            ReLU6(),
            MaxPool2D(2),
            Conv2D(6, 3, padding=1),
            ReLU6(),
            MaxPool2D(3, 2),
            Scale(3.0),
            Conv2D(4, 2, padding=1),
            ReLU6(),
            AvgPool2D(2),
            Flatten(),
        ],
        2,
    ),
    "conv_elu_maxpool": ([Conv2D(5, 3, padding=1), ELU(), MaxPool2D(2), Flatten(), Dense(7), ELU(0.3)], 3),
    "conv_hardswish": (
        [
            Conv2D(5, 3),
            Scale(5.0),
            HardSwish(),
            MaxPool2D(2),
            Conv2D(4, 2),
            HardSwish(),
            Flatten(),
            Dense(6),
            HardSwish(),
        ],
        2,
    ),
    "strides": (
        [Conv2D(4, 3, stride=2, padding=1), ReLU(), Conv2D(5, (3, 2), stride=(2, 1), bias=False), ReLU(), Flatten()],
        3,
    ),
    "conv_conv": ([Conv2D(4, 3, padding="same"), Conv2D(3, 1), Conv2D(4, (1, 3), padding=(0, 1)), Flatten()], 2),
    "windows_3_by_2": (
        [
            Conv2D(5, 3),
            ReLU(),
            MaxPool2D(3, 2),
            Conv2D(6, 3, padding="same"),
            LeakyReLU(0.1),
            MaxPool2D(3, 1),
            Flatten(),
        ],
        3,
    ),
    "gaps_and_rests": (
        [
            Conv2D(4, 3, padding="same"),
            MaxPool2D(2, 3),
            ReLU(),
            Conv2D(5, 2),
            Tanh(),
            MaxPool2D((1, 2), (2, 3)),
            Flatten(),
        ],
        2,
    ),
    "windows_4x4": ([Conv2D(3, 3, padding="same"), Conv2D(6, 3, padding="same"), ReLU(), MaxPool2D(4), Flatten()], 2),
    "windows_6x7": (
        [
            Conv2D(5, 3, padding="same"),
            ReLU(),
            Conv2D(6, 3, padding="same"),
            MaxPool2D((6, 7), (4, 2)),
            Sigmoid(),
            Flatten(),
        ],
        2,
    ),
    "big_windows": ([Conv2D(4, 3), ReLU(), AvgPool2D(3), Conv2D(2, 1), MaxPool2D(2), Flatten()], 2),
    "wide_padding": (
        [
            Conv2D(5, 3, padding=4),
            ReLU(),
            MaxPool2D(2),
            Conv2D(6, 3, padding=3),
            Conv2D(4, (2, 3), 3, padding=(9, 5)),
            Flatten(),
        ],
        2,
    ),
    "maxpool_first": ([MaxPool2D(2), Conv2D(5, 3, padding="same"), ReLU(), Flatten()], 3),
    "avgpool_first": ([AvgPool2D(3, 2), Flatten(), Dense(5), Tanh()], 2),
    "sigmoid_first": ([Sigmoid(), Conv2D(4, 3, padding=1), ReLU(), MaxPool2D(2), Flatten()], 3),
}
# The same with values that are used twice and meet again.
BRANCHED = {
    "residual": (
        [
            Conv2D(5, 3, padding=1),
            ReLU(),
            Residual([Conv2D(5, 3, padding=1), ReLU(), Conv2D(5, 3, padding=1)]),
            ReLU(),
            Residual([Conv2D(7, 3, stride=2, padding=1), Tanh(), Conv2D(7, 3, padding=1)], [Conv2D(7, 1, stride=2)]),
            ReLU(),
            MaxPool2D(2),
            Flatten(),
        ],
        3,
    ),
    "flattened_images": (
        [
            Conv2D(5, 3),
            Concat([ReLU(), Flatten()], [Conv2D(3, 1), Flatten()], [Tanh(), Flatten()]),
            Residual([Tanh()]),
        ],
        3,
    ),
    "flattened_and_vectors": (
        [
            Conv2D(5, 3, padding=1),
            ReLU(),
            Concat(
                [Flatten(), Tanh()],
                [MaxPool2D(2), Conv2D(7, 3, padding=1), Flatten()],
                [Conv2D(3, 3), GlobalAvgPool()],
                [Flatten(), Dense(6)],
            ),
            Residual([ReLU()]),
            Dense(4),
        ],
        3,
    ),
    "flattened_input": ([Concat([Flatten()], [Flatten(), Dense(5)], [Conv2D(3, 3), GlobalAvgPool()])], 2),
    "input_as_rows": ([Concat([Flatten()], [Flatten(), Dense(5), Tanh()])], 2),
    "residual_of_a_flattened_image": (
        [Conv2D(3, 3), Conv2D(2, (3, 4)), Flatten(), Residual([Dense(70), Tanh(), Dense(70)]), ReLU()],
        2,
    ),
    "residual_dense": ([Flatten(), Dense(8), Tanh(), Residual([Dense(8), ReLU(), Dense(8)]), Sigmoid()], 3),
    "concat": (
        [
            Conv2D(5, 3, padding=1),
            Tanh(),
            Concat([Conv2D(3, 1), ReLU()], [Conv2D(6, 3, padding=1)], [MaxPool2D(1)]),
            Conv2D(4, 3),
            Concat([MaxPool2D(2), Flatten(), Dense(7)], [AvgPool2D(3), Flatten(), Dense(9), Tanh()]),
        ],
        3,
    ),
    "residual_subsample": (
        [
            Conv2D(5, 3, padding=1),
            Tanh(),
            Residual([Conv2D(12, 3, stride=2, padding=1)], [Subsample(12)]),
            ReLU(),
            Residual([Conv2D(21, 3, stride=2, padding=1)], [Subsample(21)]),
            Tanh(),
            Flatten(),
        ],
        3,
    ),
    "residual_input": ([Residual([Conv2D(2, 3, padding=1)]), ReLU(), AvgPool2D(2), Flatten()], 2),
}
# What only the graph knows.
OTHERS = {
    "global_avg_pool": ([Conv2D(5, 3, padding=1), ReLU(), Conv2D(9, 3), GlobalAvgPool(), Dense(6), ReLU()], 3),
}
# Convolutions and dense layers have no bias before a normalisation, which would take it out again.
NORMS = {
    "norms": (
        [
            Conv2D(5, 3, bias=False),
            BatchNorm(),
            ReLU(),
            Conv2D(19, 3, padding=1, bias=False),
            BatchNorm(eps=1e-3, momentum=0.3),
            LeakyReLU(0.2),
            MaxPool2D(2),
            Conv2D(7, 2, bias=False),
            BatchNorm(scale=False),
            Tanh(),
            Flatten(),
        ],
        3,
    ),
    "residual_norms": (
        [
            Conv2D(6, 3, padding=1, bias=False),
            BatchNorm(),
            ReLU(),
            Residual(
                [
                    Conv2D(6, 3, padding=1, bias=False),
                    BatchNorm(),
                    ReLU(),
                    Conv2D(6, 3, padding=1, bias=False),
                    BatchNorm(),
                ]
            ),
            ReLU(),
            GlobalAvgPool(),
        ],
        3,
    ),
    "norms_of_features": (
        [
            Flatten(),
            BatchNorm(eps=0.1),
            Tanh(),
            Dense(9, bias=False),
            BatchNorm(bias=False),
            Tanh(),
            Dense(5, bias=False),
            BatchNorm(momentum=None),
            ReLU(),
            Dense(7, bias=False),
            BatchNorm(scale=False, bias=False),
            Sigmoid(),
        ],
        3,
    ),
    "norm_of_a_flattened_image": (
        [Conv2D(5, 3), Tanh(), MaxPool2D(2), Flatten(), BatchNorm(eps=0.1), ReLU(), Dense(5), Tanh()],
        3,
    ),
    "norms_of_relu6": (
        [
            Conv2D(6, 3, padding=1, bias=False),
            BatchNorm(),
            Scale(4.0),
            ReLU6(),
            Conv2D(9, 3, bias=False),
            BatchNorm(),
            HardSwish(),
            GlobalAvgPool(),
        ],
        3,
    ),
    "norm_first": (
        [BatchNorm(), Tanh(), Conv2D(4, 3, bias=False), MaxPool2D(2), BatchNorm(), GELU(), Flatten()],
        3,
    ),
}
DEPTHWISE = {
    "depthwise": (
        [
            Conv2D(5, 3, stride=(1, 2), padding=(0, 2, 1, 0)),
            ReLU(),
            Conv2D(5, 3, padding=1, groups=5),
            Tanh(),
            Conv2D(19, 1, bias=False),
            BatchNorm(),
            ReLU6(),
            Conv2D(19, (3, 4), stride=2, padding="tf_same", groups=19, bias=False),
            BatchNorm(),
            ReLU(),
            Flatten(),
        ],
        3,
    ),
    "depthwise_first": ([Conv2D(2, 5, stride=(1, 2), padding=3, groups=2), Sigmoid(), MaxPool2D(2), Flatten()], 2),
}
DROPOUTS = {
    "dropout": (
        [
            Conv2D(5, 3, padding=1),
            ReLU(),
            Dropout(0.25),
            Conv2D(4, 3),
            Dropout(0.1),
            ReLU(),
            MaxPool2D(2),
            Dropout(0.3),
            Flatten(),
            Dense(17),
            Tanh(),
            Dropout(),
        ],
        3,
    ),
    "dropout_flattened": ([Dropout(0.1), Conv2D(5, 3), Tanh(), Flatten(), Dropout(), Dense(5), Tanh()], 3),
}
EVERY_NETWORK = {**NETWORKS, **BRANCHED, **OTHERS, **NORMS, **DEPTHWISE, **DROPOUTS}
LOSSES = {"softmax_ce": SoftmaxCrossEntropy(), "bce": BinaryCrossEntropy(), "mse": MeanSquaredError()}
SOFTMAX_LOSSES = {
    "softmax_ce": SoftmaxCrossEntropy(),
    "smoothed": SoftmaxCrossEntropy(label_smoothing=0.1),
}
#: Of networks with 5 outputs.
WEIGHTED_LOSSES = {
    "weighted": SoftmaxCrossEntropy(class_weights=(1, 0.5, 3, 0.25, 2)),
    "weighted_smoothed": SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1, 0.5, 3, 0.25, 2)),
}
LOSSES = {
    **SOFTMAX_LOSSES,
    "bce": BinaryCrossEntropy(),
    "mse": MeanSquaredError(),
    "mae": MeanAbsoluteError(),
    "huber": Huber(0.4),
}


def make(layers, outputs, loss="mse", optimizer=None, *, softmax=False, dtype="float64"):
    """The network with a dense layer of `outputs` (and a softmax) at its end, on 2x11x10 images, batch 6."""
    return Model(
        name="net", input=(2, 11, 10), layers=[*layers, Dense(outputs), *([Softmax()] if softmax else [])],
        loss=(LOSSES | WEIGHTED_LOSSES)[loss], optimizer=optimizer or SGD(lr=0.1), batch_size=6, dtype=dtype,
        data=Dataset("none", scale=1 / 200, mean=(0.4, 0.5), std=(0.6, 0.5)),
    )  # fmt: skip


def draw(model, rng):
    """Random parameters (biases too) and a batch."""
    parameters = {}
    for parameter in parameters_of(model):
        parameters[parameter.name] = rng.uniform(-1, 1, parameter.shape) * np.sqrt(3 / parameter.fan_in)
    images = rng.integers(0, 256, (model.batch_size, *model.input)).astype(np.uint8)
    return parameters, images, rng.integers(0, classes_of(model), model.batch_size)


def second_reader(parameter):
    """In place of training_graph: the gradient of a parameter is a result of the step, too."""

    def training_graph(model, *, fuses_steps=True):
        graph = differentiate(simplify(trace(model)), model.optimizer)
        results = (*graph.results, gradient_name(parameter))
        return fuse(replace(graph, results=results), fuses_steps=fuses_steps)

    return training_graph
