"""Cats and dogs: three convolutions with 2x2 max pools, then two dense layers."""

from asmgen import SGD, BinaryCrossEntropy, Conv2D, Dataset, Dense, Flatten, MaxPool2D, Model, ReLU


def model(size=128, channels=3, epochs=10, lr=0.01, batch=16):
    return Model(
        name="catdog", input=(channels, size, size),
        layers=[
            Conv2D(32, 3, padding="same"), ReLU(), MaxPool2D(2),
            Conv2D(64, 3, padding="same"), ReLU(), MaxPool2D(2),
            Conv2D(128, 3, padding="same"), ReLU(), MaxPool2D(2),
            Flatten(), Dense(128), ReLU(), Dense(1),
        ],
        loss=BinaryCrossEntropy(),              # from logits
        optimizer=SGD(lr=lr), batch_size=batch, epochs=epochs, seed=1,
        data=Dataset("catdog", scale=1 / 255),  # $ASMGEN_DATA/catdog
    )  # fmt: skip
