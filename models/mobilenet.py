"""MobileNetV1 (Howard et al., 2017), as the visual wake words network of MLPerf Tiny: 96x96 photos, width 0.25.

A convolution, then 13 blocks of a depthwise and a 1x1 convolution. MLPerf Tiny's convolutions have a bias, too, which
the normalisation behind them takes off again: it is left out here.
"""

from asmgen import (
    Adam,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    GlobalAvgPool,
    Model,
    ReLU,
    SoftmaxCrossEntropy,
)

# (channels at width 1, stride of the depthwise convolution) of the blocks
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def conv(channels, kernel, stride=1, groups=1):
    layer = Conv2D(channels, kernel, stride=stride, padding="tf_same", bias=False, groups=groups)
    return [layer, BatchNorm(), ReLU()]


def model(width=0.25, size=96, classes=2, epochs=20, lr=0.001, batch=32):
    c = int(32 * width)
    layers = conv(c, 3, stride=2)
    for channels, stride in BLOCKS:
        layers += conv(c, 3, stride, groups=c)
        c = int(channels * width)
        layers += conv(c, 1)
    return Model(
        name="mobilenet", input=(3, size, size),
        layers=[*layers, GlobalAvgPool(), Dense(classes)],
        loss=SoftmaxCrossEntropy(),
        optimizer=Adam(lr=lr), batch_size=batch, epochs=epochs,
        data=Dataset("photos"),
    )  # fmt: skip
