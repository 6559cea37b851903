"""Handwritten digits with one sigmoid layer of 32, all in float64."""

from asmgen import SGD, Dataset, Dense, Flatten, Model, Sigmoid, SoftmaxCrossEntropy, XavierUniform


def model(epochs=30, lr=0.1, batch=32):
    return Model(
        name="mnist_sigmoid", input=(1, 28, 28), dtype="float64",
        layers=[
            Flatten(),
            Dense(32, init=XavierUniform()), Sigmoid(),
            Dense(10, init=XavierUniform()),
        ],
        loss=SoftmaxCrossEntropy(),
        optimizer=SGD(lr=lr), batch_size=batch, epochs=epochs, seed=1,
        data=Dataset("mnist", scale=1 / 255),
    )  # fmt: skip
