"""DS-CNN (Zhang et al., 2017), the keyword spotting network of MLPerf Tiny: 49 frames of 10 coefficients, 12 words.

Biases in front of a normalisation are left out: it takes them off again.
"""

from asmgen import (
    Adam,
    BatchNorm,
    Conv2D,
    Dataset,
    Dense,
    Dropout,
    GlobalAvgPool,
    Model,
    ReLU,
    SoftmaxCrossEntropy,
)


def conv(channels, kernel, stride=1, groups=1):
    layer = Conv2D(channels, kernel, stride=stride, padding="tf_same", bias=False, groups=groups)
    return [layer, BatchNorm(), ReLU()]


def model(channels=64, blocks=4, classes=12, epochs=36, lr=0.0005, batch=100):
    layers = [*conv(channels, (10, 4), stride=2), Dropout(0.2)]
    for _ in range(blocks):
        layers += [*conv(channels, 3, groups=channels), *conv(channels, 1)]
    return Model(
        name="ds_cnn", input=(1, 49, 10),
        layers=[*layers, Dropout(0.4), GlobalAvgPool(), Dense(classes)],
        loss=SoftmaxCrossEntropy(),
        optimizer=Adam(lr=lr, weight_decay=1e-4), batch_size=batch, epochs=epochs,
        data=Dataset("speech_commands"),
    )  # fmt: skip
