"""Every value a part of a model takes is checked where it is written, and the message says which line."""

import re

import pytest

from asmgen import (
    ELU,
    SGD,
    Adam,
    AdamW,
    AvgPool2D,
    Conv2D,
    Dataset,
    Dense,
    FromFile,
    HeNormal,
    HeUniform,
    LeakyReLU,
    MaxPool2D,
    Momentum,
    Nesterov,
    ReLU,
    Scale,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from asmgen.errors import ModelError
from asmgen.ops.base import Site


def test_sizes_are_pairs():
    layer = Conv2D(8, 3, stride=[2, 1], padding=1)
    assert (layer.kernel, layer.stride, layer.padding, layer.pads) == ((3, 3), (2, 1), (1, 1), (1, 1, 1, 1))
    assert layer == Conv2D(8, (3, 3), (2, 1), (1, 1))
    assert MaxPool2D(3).stride == (3, 3)
    assert AvgPool2D((2, 3), 1).stride == (1, 1)


@pytest.mark.parametrize(("kernel", "pads"), [(3, (1, 1, 1, 1)), (4, (1, 2, 1, 2)), ((1, 2), (0, 0, 0, 1))])
def test_same_padding_puts_the_odd_zero_last(kernel, pads):
    assert Conv2D(1, kernel, padding="same").pads == pads


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        ((96, 97), 3, 2, (0, 1, 1, 1)),
        ((49, 10), (10, 4), 2, (4, 5, 1, 1)),
        ((5, 6), 3, 1, (1, 1, 1, 1)),
        ((6, 7), 1, 3, (0, 0, 0, 0)),
        ((4, 4), 4, 1, (1, 2, 1, 2)),
    ],
)
def test_padding_as_tensorflows(size, kernel, stride, pads):
    """ceil(size / stride) outputs; the odd zero goes last."""
    layer = Conv2D(1, kernel, stride, "tf_same")
    assert layer.pads_of((3, *size)) == pads
    assert layer.out_shapes(Site("conv1", "here"), (3, *size)) == ((1, *(-(-side // stride) for side in size)),)


def test_where_is_the_line_of_the_call_and_takes_no_part_in_equality():
    first, second = ReLU(), ReLU()
    third = ReLU()
    assert first == second == third
    assert re.search(r"test_layers\.py:\d+$", first.where)
    assert first.where == second.where != third.where
    assert "where" not in repr(first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D(0, 3), r"Conv2D: filters=0 must lie in 1\.\.65536"),
        (lambda: Conv2D(8.0, 3), r"Conv2D: filters=8\.0 must be a whole number"),
        (lambda: Conv2D(8, 12), r"Conv2D: kernel=12 must lie in 1\.\.11"),
        (lambda: Conv2D(8, (3, 3, 3)), r"Conv2D: kernel=\(3, 3, 3\) must be a whole number or a pair"),
        (lambda: Conv2D(8, True), r"Conv2D: kernel=True must be a whole number or a pair"),
        (lambda: Conv2D(8, 3, stride=0), r"Conv2D: stride=0 must lie in 1\.\.64"),
        (lambda: Conv2D(8, 3, stride=None), r"Conv2D: stride=None must be a whole number or a pair"),
        (
            lambda: Conv2D(8, 3, padding="full"),
            r"padding='full' must be \"same\", \"tf_same\", \"valid\", a number, a pair",
        ),
        (lambda: Conv2D(8, 3, padding=-1), r"Conv2D: padding=-1 must lie in 0\.\.1024"),
        (lambda: Conv2D(8, 3, padding=(2, 1025)), r"Conv2D: padding=1025 must lie in 0\.\.1024"),
        (lambda: Conv2D(8, 3, padding=2.5), r"Conv2D: padding=2\.5 must be a whole number, a pair or \(top, bottom"),
        (
            lambda: Conv2D(8, 3, padding=(1, 2, 3)),
            r"Conv2D: padding=\(1, 2, 3\) must be a whole number, a pair or \(top,",
        ),
        (lambda: Conv2D(8, 3, padding=(1, 2, 3, -1)), r"Conv2D: padding=-1 must lie in 0\.\.1024"),
        (lambda: Conv2D(8, 5, 2, "same"), r'padding="same" needs stride 1, not 2x2; .* such as padding=2'),
        (lambda: Conv2D(8, 3, bias=0), r"Conv2D: bias=0 must be True or False"),
        (lambda: Conv2D(8, 3, bias=False, bias_init=HeUniform()), r"bias_init is given, but bias=False"),
        (lambda: Dense(10, init=HeUniform), r"Dense: init=HeUniform is a class; write HeUniform\(\)"),
        (lambda: Dense(10, init="he"), r"Dense: init='he' must be an initialiser such as HeUniform\(\)"),
        (lambda: Dense(-4), r"Dense: units=-4 must lie in 1\.\.65536"),
        (lambda: MaxPool2D(17), r"MaxPool2D: window 17x17 has 289 values; at most 256"),
        (lambda: AvgPool2D(0), r"AvgPool2D: window=0 must lie in 1\.\.4096"),
        (lambda: AvgPool2D(2, 0), r"AvgPool2D: stride=0 must lie in"),
        (lambda: LeakyReLU(-0.1), r"LeakyReLU: alpha=-0\.1 must lie in \[0, 1\]"),
        (lambda: ELU(-0.1), r"ELU: alpha=-0\.1 must lie in \[0, 1e\+06\]"),
        (lambda: Scale("1/9"), r"Scale: factor='1/9' must be a number"),
        (lambda: Scale(float("inf")), r"Scale: factor=inf must lie in \[-1e\+06, 1e\+06\]"),
        (lambda: SGD(lr="fast"), r"SGD: lr='fast' must be a number"),
        (lambda: SGD(lr=float("nan")), r"SGD: lr=nan must lie in \[0, 1e\+06\]"),
        (lambda: SGD(0.1, lr_decay=0), r"SGD: lr_decay=0 must lie in \(0, 1\]"),
        (lambda: SGD(0.1, weight_decay=-1), r"SGD: weight_decay=-1 must lie in"),
        (lambda: Momentum(0.1, 1.0), r"Momentum: momentum=1\.0 must lie in \[0, 1\)"),
        (lambda: Adam(beta2=1), r"Adam: beta2=1 must lie in \[0, 1\)"),
        (lambda: Adam(eps=0), r"Adam: eps=0 must lie in \(0, 1\]"),
        (lambda: Dataset("../etc"), r"Dataset: name='\.\./etc' must be a plain directory name"),
        (lambda: Dataset("a", scale=0), r"Dataset: scale=0 must lie in"),
        (lambda: Dataset("a", std=(1, 0, 1)), r"Dataset: std=\(1, 0, 1\) must hold positive numbers, one per channel"),
        (lambda: Dataset("a", mean="x"), r"Dataset: mean='x' must hold numbers, one per channel"),
        (lambda: Dataset("a", mean=()), r"Dataset: mean is empty"),
        (lambda: Dataset("a", validation=("eval", 0, 1)), r"validation=\('eval', 0, 1\) must be \(\"test\" or"),
        (lambda: Dataset("a", validation=("test", 5, 5)), r"0 <= begin < end"),
        (lambda: FromFile("w.bin"), r"FromFile: path='w\.bin' must name a \.npy or \.safetensors file"),
        (lambda: FromFile("w.npy", key="0.weight"), r"FromFile: key='0\.weight': a \.npy file holds one tensor"),
    ],
)
def test_a_value_out_of_range_is_refused_at_its_line(make, message):
    with pytest.raises(ModelError, match=r"test_layers\.py:\d+: .*" + message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_optimizers_have_pytorch_defaults():
    assert (Adam().lr, Adam().beta1, Adam().beta2, Adam().eps, Adam().weight_decay) == (1e-3, 0.9, 0.999, 1e-8, 0.0)
    assert AdamW().weight_decay == 0.01
    assert (Nesterov(0.1).momentum, Nesterov(0.1).lr_decay) == (0.9, 1.0)
    assert Momentum(0.1) != Nesterov(0.1)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (HeUniform(), ("uniform", (6 / 50) ** 0.5)),
        (HeNormal(), ("normal", 0.2)),
        (XavierUniform(), ("uniform", (6 / 200) ** 0.5)),
        (XavierNormal(), ("normal", 0.1)),
        (Zeros(), ("zeros", 0.0)),
        (FromFile("w.npy"), ("data", 0.0)),
    ],
)
def test_scale_of_each_initialiser(init, expected):
    kind, scale = init.init_for(50, 150)
    assert (kind, pytest.approx(scale)) == expected


def test_pixels_become_numbers():
    data = Dataset("d", scale=0.5, mean=(1, 2), std=(4, 8), validation=["train", 10, -1])
    assert data.affine(2) == [(0.125, -0.25), (0.0625, -0.25)]
    assert Dataset("d", scale=0.5).affine(1) == [(0.5, 0.0)]
    assert data.validation == ("train", 10, -1)
