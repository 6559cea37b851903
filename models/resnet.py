"""Residual networks for small photos (He et al., 2015): 3 stages of 16, 32 and 64 channels, depth = 6 n + 2.

depth=8 is the image classification network of MLPerf Tiny where shortcut=B: its shortcuts are 1x1 convolutions with a
bias and no normalisation.
"""

from asmgen import (
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    GlobalAvgPool,
    HeNormal,
    Model,
    Momentum,
    OneOf,
    ReLU,
    Residual,
    SoftmaxCrossEntropy,
    Subsample,
)

DEPTHS = OneOf("20", "8", "32", "56")  # the first is the default
SHORTCUTS = OneOf("A", "B")


def conv(channels, stride=1):
    return Conv2D(channels, 3, stride=stride, padding=1, bias=False, init=HeNormal())


def block(channels, stride, shortcut):
    """Two convolutions around which a shortcut leads; it changes size and channels where they do."""
    ways = {
        "A": [Subsample(channels, stride)],
        "B": [Conv2D(channels, 1, stride=stride, init=HeNormal())],
    }
    body = [conv(channels, stride), BatchNorm(), ReLU(), conv(channels), BatchNorm()]
    return [Residual(body, ways[shortcut] if stride > 1 else []), ReLU()]


def model(depth=DEPTHS, shortcut=SHORTCUTS, size=32, classes=10, epochs=30, lr=0.1, batch=128):
    layers = [conv(16), BatchNorm(), ReLU()]
    for stage, channels in enumerate((16, 32, 64)):
        for number in range((int(depth) - 2) // 6):
            layers += block(channels, 2 if stage and not number else 1, shortcut)
    return Model(
        name="resnet", input=(3, size, size),
        layers=[*layers, GlobalAvgPool(), Dense(classes, init=HeNormal())],
        loss=SoftmaxCrossEntropy(),
        optimizer=Momentum(lr=lr, momentum=0.9, weight_decay=1e-4), batch_size=batch, epochs=epochs,
        data=Dataset("cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)),
    )  # fmt: skip
