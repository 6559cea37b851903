"""Models written as calls: names, inputs and joins that cannot be are refused at their line."""

from __future__ import annotations

import dataclasses
import re

import pytest

from asmgen import (
    SGD,
    Add,
    Concat,
    Conv2D,
    Dataset,
    Dense,
    Flatten,
    GlobalAvgPool,
    Input,
    MaxPool2D,
    Model,
    ReLU,
    Residual,
    SoftmaxCrossEntropy,
    Tanh,
)
from asmgen.errors import ModelError
from asmgen.model.trace import parameters_of, trace
from asmgen.plan.build import build_plan


def model(x, y):
    return Model(
        name="net", input=x, output=y, loss=SoftmaxCrossEntropy(), optimizer=SGD(0.1), data=Dataset("d"), batch_size=2
    )


def named(name):
    x = Input(2, 6, 6)
    h = Conv2D(3, 3, name=name)(x)
    return model(x, Dense(3)(GlobalAvgPool()(Add()(h, h))))


@pytest.mark.parametrize(
    "name",
    [
        *("grads", "params", "state", "loss", "hyper", "input", "pixels", "probabilities", "infer.x", "evaluate.y"),
        *("d_conv1", "d_x", "x.w", "x.next", "x.codes", "x.sum1", "a.part2", "x.weight", "x.via0"),
    ],
)
def test_names_that_plans_use_themselves_are_refused(name):
    with pytest.raises(ModelError, match=rf"test_calls\.py:\d+: Conv2D: name='{re.escape(name)}': plans use "):
        trace(named(name))


@pytest.mark.parametrize("name", ["stem", "layer1.block2.conv", "Grads", "weights", "xw", "loss_head"])
def test_other_names_begin_those_of_parameters(name):
    plan = build_plan(named(name), 4)
    assert plan.parameters[0].weight.name == f"{name}.weight"


@pytest.mark.parametrize("name", ["two words", "1st", "", "a..b", "a-b", 3])
def test_a_name_that_is_no_word_is_refused(name):
    with pytest.raises(ModelError, match=r"test_calls\.py:\d+: .*name=.* must be letters, digits and '_'"):
        trace(named(name))


def test_joins_say_what_to_do():
    x = Input(2, 6, 6)
    for joined, message in (
        (lambda: Add()(x, MaxPool2D(2)(x)), "adds 2x6x6 and 2x3x3; make them equal"),
        (lambda: Concat()(x, MaxPool2D(2)(x)), "joins 2x6x6 and 2x3x3; make all but the channels equal"),
    ):
        with pytest.raises(ModelError, match=message):
            trace(model(x, Dense(3)(Flatten()(joined()))))
    for wrong, message in (
        (lambda: Add()(x), "joins two or more values, not 1"),
        (lambda: ReLU()(x, x), "takes 1 value, not 2"),
        (lambda: Add(x, x), r"Add: makes a layer first, then calls it: Add\(\.\.\.\)\(x\)"),
        (lambda: ReLU()(3), "called on 3; call it on Input"),
        (lambda: Concat([ReLU()]), "joins two or more lists of layers, not 1"),
        (lambda: Residual([]), "body has no layers"),
        (lambda: Residual([ReLU]), r"body\[0\] is the class ReLU; write ReLU\(\)"),
        (lambda: Input(3, 8), r"Input: \(3, 8\) must be three whole numbers"),
    ):
        with pytest.raises(ModelError, match=rf"test_calls\.py:\d+: .*{message}"):
            wrong()


def test_lists_are_called_on_one_value():
    x = Input(2, 6, 6)
    h = Concat([Conv2D(4, 1)], [MaxPool2D(1)], name="cc")(Residual([Conv2D(2, 1)], name="rr")(x))
    plan = build_plan(model(x, Dense(3)(GlobalAvgPool()(h))), 4)
    assert [block.weight.name for block in plan.parameters][:2] == ["rr.body.0.weight", "cc.branches.0.0.weight"]


def test_a_network_has_one_input():
    x, z = Input(2, 6, 6), Input(2, 6, 6)
    with pytest.raises(ModelError, match=r"test_calls\.py:\d+: Input: a second one"):
        trace(model(x, Dense(3)(GlobalAvgPool()(Add()(x, z)))))
    with pytest.raises(ModelError, match=r"output= does not come from the Input that input= is"):
        model(x, Dense(3)(GlobalAvgPool()(z)))


def test_a_layer_with_parameters_is_called_once():
    x, shared = Input(2, 6, 6), Conv2D(2, 3, padding=1)
    with pytest.raises(ModelError, match=r"test_calls\.py:\d+: Conv2D: stands in two places, conv1 and conv2"):
        trace(model(x, Dense(3)(GlobalAvgPool()(shared(shared(x))))))


@pytest.mark.parametrize("name", ["features.0", "layer1.0.downsample.0", "state.conv", "input.stem", "loss_head"])
def test_names_of_well_known_modules_are_taken(name):
    x = Input(3, 8, 8)
    y = Dense(2)(Flatten()(Conv2D(4, 3, name=name)(x)))
    net = model(x, y)
    assert parameters_of(net)[0].name == f"{name}.weight"


def test_a_number_that_a_name_took_is_left_out():
    x = Input(3, 8, 8)
    y = Conv2D(4, 1)(Conv2D(4, 1, name="conv1")(x))
    net = model(x, Dense(2)(Flatten()(y)))
    assert [parameter.name for parameter in parameters_of(net)][::2] == [
        "conv1.weight",
        "conv2.weight",
        "dense1.weight",
    ]


@pytest.mark.parametrize(
    "join", [lambda name: Residual([Conv2D(3, 1)], name=name), lambda name: Concat([ReLU()], [Tanh()], name=name)]
)
def test_two_joins_of_one_name_are_refused(join):
    x = Input(3, 8, 8)
    y = Dense(2)(Flatten()(join("block")(join("block")(x))))
    net = model(x, y)
    with pytest.raises(ModelError, match="name='block' is what another layer is called"):
        trace(net)
    y = Dense(2)(Flatten()(join(None)(join("residual1")(x))))
    trace(dataclasses.replace(net, output=y))


def test_a_layer_inside_a_called_list_is_in_one_place():
    x, conv = Input(3, 8, 8), Conv2D(3, 1)
    y = Dense(2)(Flatten()(Residual([conv])(conv(x))))
    net = model(x, y)
    with pytest.raises(ModelError, match="Conv2D: stands in two places, conv1 and residual1"):
        trace(net)


def test_a_sum_of_symbols_is_an_add():
    x = Input(3, 8, 8)
    y = Dense(2)(Flatten()(x + Conv2D(3, 1)(x)))
    net = model(x, y)
    assert any(isinstance(node.op, Add) for node in trace(net).nodes)
