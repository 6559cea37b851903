"""Lists of layers: a layer's place is its name, and it has one place."""

from __future__ import annotations

import pytest

from asmgen import SGD, Conv2D, Dataset, Dense, Flatten, GlobalAvgPool, Model, ReLU, Residual, SoftmaxCrossEntropy
from asmgen.errors import ModelError
from asmgen.model.trace import trace
from asmgen.ops.base import Layer


def traced(*layers: Layer) -> None:
    trace(
        Model(
            name="lists", input=(8, 6, 6), layers=list(layers), loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=0.1),
            data=Dataset("none"),
        )
    )  # fmt: skip


def test_a_name_in_a_list_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Dense: name='a' in a list, .* 1\.weight; leave it out, or write the model"):
        traced(Flatten(), Dense(3, name="a"))


def test_a_layer_with_parameters_is_listed_once() -> None:
    conv, relu = Conv2D(8, 3, padding=1), ReLU()
    traced(relu, Conv2D(8, 3, padding=1), relu, GlobalAvgPool(), Dense(3))
    with pytest.raises(ModelError, match="Conv2D: stands in two places, 0 and 2; its parameters belong to one"):
        traced(conv, relu, conv, GlobalAvgPool(), Dense(3))
    with pytest.raises(ModelError, match=r"stands in two places, 0 and 1\.body\.0"):
        traced(conv, Residual([conv]), GlobalAvgPool(), Dense(3))
    depthwise = Conv2D(8, 3, padding="tf_same", groups=8)  # another op stands for it
    with pytest.raises(ModelError, match="Conv2D: stands in two places, 0 and 1;"):
        traced(depthwise, depthwise, GlobalAvgPool(), Dense(3))


def test_a_residual_says_what_its_ways_end_in() -> None:
    with pytest.raises(ModelError, match=r"Residual: its body turns 8x6x6 into 16x6x6, .* such as \[Conv2D\(16, 1\)\]"):
        traced(Residual([Conv2D(16, 3, padding=1)]), GlobalAvgPool(), Dense(3))
    with pytest.raises(ModelError, match="Residual: its body ends in 16x6x6, its shortcut in 16x3x3; make them equal"):
        traced(Residual([Conv2D(16, 3, padding=1)], [Conv2D(16, 1, stride=2)]), GlobalAvgPool(), Dense(3))
