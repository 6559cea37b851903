"""Shapes through a network, and the message for each way in which a model does not fit together."""

import pytest

from asmgen import (
    SGD,
    AvgPool2D,
    BinaryCrossEntropy,
    Conv2D,
    Dataset,
    Dense,
    Flatten,
    Huber,
    MaxPool2D,
    MeanAbsoluteError,
    MeanSquaredError,
    Model,
    ReLU,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
)
from asmgen.errors import ModelError
from asmgen.graph.simplify import simplify
from asmgen.model.describe import describe
from asmgen.model.trace import classes_of, parameters_of, trace
from asmgen.ops.base import Layer


def network(*layers, input=(3, 8, 8), loss=None, **more):
    facts = {"name": "net", "optimizer": SGD(0.1), "data": Dataset("d")} | more
    return Model(input=input, layers=layers, loss=loss or SoftmaxCrossEntropy(), **facts)


def test_shapes_follow_pytorchs_floor_division():
    model = network(
        Conv2D(4, (3, 2), stride=(2, 1), padding="valid"), ReLU(), MaxPool2D(2), AvgPool2D((1, 2), 1),
        Flatten(), Dense(5),
        input=(3, 13, 10),
    )  # fmt: skip
    graph = trace(model)
    layers = [node for node in graph.nodes if isinstance(node.op, Layer)]
    shapes = [graph.values[node.outputs[0]].shape for node in layers]
    assert shapes == [(4, 6, 9), (4, 6, 9), (4, 3, 4), (4, 3, 3), (36,), (5,)]
    assert [node.label for node in layers] == ["conv1", "relu1", "pool1", "pool2", "flatten1", "dense1"]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 11, (2, 5)])
def test_same_keeps_the_size(kernel):
    graph = trace(network(Conv2D(2, kernel, padding="same"), Flatten(), Dense(2), input=(1, 5, 6)))
    assert graph.values["conv1"].shape == (2, 5, 6)


def test_parameters_have_pytorchs_names_shapes_and_fans():
    model = network(Conv2D(4, (3, 5), padding=1), ReLU(), MaxPool2D(2), Flatten(), Dense(2, bias=False))
    facts = [(p.name, p.shape, p.fan_in, p.fan_out) for p in parameters_of(model)]
    assert facts == [
        ("0.weight", (4, 3, 3, 5), 45, 60),
        ("0.bias", (4,), 45, 60),
        ("4.weight", (2, 48), 48, 2),
    ]


IMAGE = [Conv2D(4, 3), Flatten()]


@pytest.mark.parametrize(
    ("layers", "more", "message"),
    [
        (
            [Conv2D(2, 3, padding="same"), MaxPool2D(8), ReLU(), Conv2D(4, 3), Flatten(), Dense(2)], {},
            r"conv2: kernel 3x3 on input 1x1 leaves no output; add padding=1 or drop the pool before it$",
        ),
        (
            [Conv2D(2, (9, 3)), Flatten(), Dense(2)], {},
            r"conv1: kernel 9x3 on input 8x8 leaves no output; add padding=\(1, 0\)$",
        ),
        (
            [Conv2D(2, 11, padding=1), Flatten(), Dense(2)], {},
            r"conv1: kernel 11x11 on input 8x8 padded to 10x10 leaves no output; add padding=2$",
        ),
        (
            [AvgPool2D(9), Flatten(), Dense(2)], {},
            r"pool1: window 9x9 on input 8x8 leaves no output; make the window smaller or drop this pool$",
        ),
        ([Conv2D(4, 3), Dense(2)], {}, r"dense1: its input is an image 4x6x6; put Flatten\(\) before it$"),
        ([Flatten(), Conv2D(4, 3)], {}, r"conv1: its input is a vector of 192; put it before Flatten\(\)"),
        ([Flatten(), MaxPool2D(2)], {}, r"pool1: its input is a vector of 192; put it before Flatten\(\)"),
        ([Flatten(), Flatten(), Dense(2)], {}, r"flatten2: its input is already a vector of 192; remove this"),
        ([*IMAGE, Softmax(), Dense(2)], {}, r"softmax1: Softmax can only be the last layer$"),
        (
            [*IMAGE, Dense(2), Softmax()], {"loss": BinaryCrossEntropy()},
            r"softmax1: Softmax goes with SoftmaxCrossEntropy\(\), not BinaryCrossEntropy\(\)$",
        ),
        ([Conv2D(4, 3)], {}, r"conv1: the network ends in an image 4x6x6; end it with Flatten\(\), Dense\(\.\.\.\)$"),
        ([*IMAGE, Dense(1)], {}, r"dense1: SoftmaxCrossEntropy needs 2 or more outputs, not 1"),
        ([*IMAGE, Dense(257)], {}, r"dense1: 257 outputs; at most 256 \(labels are bytes\)$"),
        ([Flatten(), ReLU()], {}, r"model net: no layer has parameters, so there is nothing to train"),
        (
            [Conv2D(60000, 1), Flatten(), Dense(2)], {"input": (1, 64, 64)},
            r"conv1: 245760000 output values per sample; at most 67108864$",
        ),
        (
            [Conv2D(2, 3, padding=1024), Conv2D(32, 1), Conv2D(1, 1, 64, padding=1024), Flatten(), Dense(2)], {},
            r"conv2: 135005312 output values per sample; at most 67108864$",
        ),
        (
            [Conv2D(64, 3), Conv2D(1, 3, stride=64, padding=1024), Flatten(), Dense(2)], {},
            r"conv2: 270010624 padded input values per sample; at most 134217728$",
        ),
        ([*IMAGE, Dense(60000), Dense(60000)], {}, r"dense2: 3600000000 weights; at most 134217728$"),
        (
            [*IMAGE, Dense(2)], {"data": Dataset("d", mean=(0.5,))},
            r"Dataset: mean=\(0\.5,\) needs one number for each channel of the input, 3$",
        ),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused_at_the_layers_line(layers, more, message):
    with pytest.raises(ModelError, match=r"test_shapes\.py:\d+: " + message):
        trace(network(*layers, **more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"name": "cat-dog"}, r"model cat-dog: name='cat-dog' must be 1 to 64 letters"),
        ({"name": "../x"}, r"name='\.\./x' must be"),
        ({"input": (28, 28)}, r"model net: input=\(28, 28\) must be \(channels, height, width\)"),
        ({"input": (1, 0, 28)}, r"model net: input=\(1, 0, 28\): height 0 must lie in 1\.\.8192"),
        ({"batch_size": 0}, r"model net: batch_size=0 must lie in 1\.\.65536"),
        ({"epochs": 1.5}, r"model net: epochs=1\.5 must be a whole number"),
        ({"seed": -1}, r"model net: seed=-1 must lie in"),
        ({"dtype": "float16"}, r"model net: dtype='float16' must be \"float32\" or \"float64\""),
        ({"precise": 1}, r"model net: precise=1 must be True or False"),
        ({"loss": BinaryCrossEntropy}, r"model net: loss=BinaryCrossEntropy is a class; write BinaryCrossEntropy\(\)"),
        ({"loss": "huber"}, r"model net: loss='huber' must be a loss such as SoftmaxCrossEntropy\(\)"),
        ({"optimizer": "adam"}, r"model net: optimizer='adam' must be an optimizer such as SGD\(lr=0\.01\)"),
        ({"data": "mnist"}, r"model net: data='mnist' must be a data set such as Dataset\(\"mnist\"\)"),
    ],
)
def test_a_wrong_fact_of_the_model_is_refused(more, message):
    with pytest.raises(ModelError, match=r"test_shapes\.py:\d+: .*" + message):
        network(*IMAGE, Dense(2), **more)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers must be a list with at least one layer"),
        ([Flatten(), ReLU, Dense(2)], r"layers\[1\] is the class ReLU; write ReLU\(\)"),
        ([[Flatten()], Dense(2)], r"layers\[0\] is a list; put \* before it"),
        ([Flatten(), "relu"], r"layers\[1\]='relu' is not a layer"),
    ],
)
def test_something_else_than_a_layer_is_refused(layers, message):
    with pytest.raises(ModelError, match=message):
        network(*layers)


@pytest.mark.parametrize(
    ("last", "loss", "fused"),
    [
        (Softmax(), SoftmaxCrossEntropy(), True),
        (Sigmoid(), BinaryCrossEntropy(), True),
        (Sigmoid(), MeanSquaredError(), False),
        (Sigmoid(), MeanAbsoluteError(), False),
        (Sigmoid(), Huber(), False),
        (Tanh(), SoftmaxCrossEntropy(), False),
    ],
)
def test_the_last_activation_that_is_part_of_the_loss_is_dropped(last, loss, fused):
    model = network(Flatten(), Dense(3), last, loss=loss)
    graph = trace(model)
    assert graph.nodes[-1].inputs[0] == graph.nodes[-2].outputs[0]
    assert simplify(graph).nodes[-1].inputs[0] == ("dense1" if fused else graph.nodes[-2].outputs[0])


def test_constants_of_a_loss_are_checked():
    with pytest.raises(ModelError, match=r"test_shapes\.py:\d+: Huber: delta=0 must lie in \[1e-06, 1e\+06\]"):
        Huber(delta=0)
    with pytest.raises(ModelError, match=r"Huber: delta='1' must be a number"):
        Huber(delta="1")
    with pytest.raises(ModelError, match=r"SoftmaxCrossEntropy: label_smoothing=1\.0 must lie in \[0, 1\)"):
        SoftmaxCrossEntropy(label_smoothing=1.0)
    for weights, message in (
        (2.0, r"class_weights=2\.0 must be a tuple of numbers, one a class"),
        ((1, 0), r"class_weights\[1\]=0 must be a number in \[1e-06, 1e\+06\]"),
        ((1, float("nan")), r"class_weights\[1\]=nan must be a number"),
        ((True, 1), r"class_weights\[0\]=True must be a number"),
    ):
        with pytest.raises(ModelError, match=r"test_shapes\.py:\d+: SoftmaxCrossEntropy: " + message):
            SoftmaxCrossEntropy(class_weights=weights)


def test_a_class_has_one_weight():
    loss = SoftmaxCrossEntropy(class_weights=[1, 2, 3])
    trace(network(*IMAGE, Dense(3), loss=loss))
    message = r"test_shapes\.py:\d+: SoftmaxCrossEntropy: class_weights has 3 numbers; the network has 2 outputs$"
    with pytest.raises(ModelError, match=message):
        trace(network(*IMAGE, Dense(2), loss=loss))


def test_one_output_means_two_classes():
    assert classes_of(network(Flatten(), Dense(1), loss=BinaryCrossEntropy())) == 2
    assert classes_of(network(Flatten(), Dense(7))) == 7


def test_describe_prints_every_layer():
    text = describe(network(Conv2D(4, 3, padding=1), MaxPool2D(2), Flatten(), Dense(2)))
    assert text.splitlines() == [
        "net: float32, batch 32, 10 epochs, seed 1",
        "SoftmaxCrossEntropy(), SGD(0.1), Dataset('d')",
        "",
        "   layer                              output  parameters",
        "   input                               3x8x8",
        "0  conv1     Conv2D(4, 3, padding=1)   4x8x8         112",
        "1  pool1     MaxPool2D(2)              4x4x4",
        "2  flatten1  Flatten()                    64",
        "3  dense1    Dense(2)                      2         130",
        "                                                     242",
    ]


def test_only_the_last_of_two_sigmoids_is_part_of_the_loss():
    model = network(Flatten(), Dense(1), Sigmoid(), Sigmoid(), loss=BinaryCrossEntropy())
    assert simplify(trace(model)).nodes[-1].inputs[0] == "sigmoid1"
