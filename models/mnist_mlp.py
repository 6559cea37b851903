"""Handwritten digits with a perceptron of three hidden layers, by three optimizers."""

from asmgen import SGD, Adam, Dataset, Dense, Flatten, Model, Momentum, OneOf, ReLU, SoftmaxCrossEntropy

OPTIMIZERS = OneOf("adam", "momentum", "sgd")  # the first is the default


def model(optimizer=OPTIMIZERS, epochs=25, batch=64, seed=4):
    recipes = {
        "sgd": SGD(lr=0.005, lr_decay=0.97),
        "momentum": Momentum(lr=0.001, momentum=0.95, lr_decay=0.97),
        "adam": Adam(lr=0.0005, beta1=0.9, beta2=0.999, eps=1e-7, lr_decay=0.97),
    }
    return Model(
        name="mnist_mlp", input=(1, 28, 28),
        layers=[
            Flatten(),
            Dense(256), ReLU(),
            Dense(128), ReLU(),
            Dense(64), ReLU(),
            Dense(10),
        ],
        loss=SoftmaxCrossEntropy(),
        optimizer=recipes[optimizer], batch_size=batch, epochs=epochs, seed=seed,
        data=Dataset("mnist", scale=1 / 255, validation=("test", 9000, 10000)),
    )  # fmt: skip
