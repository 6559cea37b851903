"""Handwritten digits with a convolutional network after LeNet-5 (LeCun et al., 1998), max or average pools."""

from asmgen import Adam, AvgPool2D, Conv2D, Dataset, Dense, Flatten, MaxPool2D, Model, OneOf, ReLU, SoftmaxCrossEntropy

POOLS = OneOf("max", "avg")  # the first is the default


def model(pool=POOLS, epochs=10, lr=0.001, batch=64):
    Pool2D = {"max": MaxPool2D, "avg": AvgPool2D}[pool]
    return Model(
        name="lenet", input=(1, 28, 28),
        layers=[
            Conv2D(6, 5, padding=2), ReLU(), Pool2D(2),
            Conv2D(16, 5), ReLU(), Pool2D(2),
            Flatten(),
            Dense(120), ReLU(),
            Dense(84), ReLU(),
            Dense(10),
        ],
        loss=SoftmaxCrossEntropy(),
        optimizer=Adam(lr=lr, lr_decay=0.8), batch_size=batch, epochs=epochs, seed=1,
        data=Dataset("mnist", scale=1 / 255),
    )  # fmt: skip
