"""Small colour images of ten classes with pairs of 3x3 convolutions, in the manner of VGG."""

from asmgen import Conv2D, Dataset, Dense, Flatten, MaxPool2D, Model, Momentum, ReLU, SoftmaxCrossEntropy


def model(size=32, channels=3, classes=10, epochs=10, lr=0.01, batch=32):
    return Model(
        name="vgg_small", input=(channels, size, size),
        layers=[
            Conv2D(64, 3, padding="same"), ReLU(),
            Conv2D(64, 3, padding="same"), ReLU(), MaxPool2D(2),
            Conv2D(128, 3, padding="same"), ReLU(),
            Conv2D(128, 3, padding="same"), ReLU(), MaxPool2D(2),
            Flatten(), Dense(256), ReLU(), Dense(classes),
        ],
        loss=SoftmaxCrossEntropy(),
        optimizer=Momentum(lr=lr, momentum=0.9), batch_size=batch, epochs=epochs, seed=1,
        data=Dataset("cifar10", scale=1 / 255),
    )  # fmt: skip
