"""The NumPy peer computes the model: gradients and steps against the interpreter of the plan, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from networks import LOSSES, NETWORKS, SOFTMAX_LOSSES, WEIGHTED_LOSSES, draw, make

from asmgen import SGD, Adam, AdamW, Dense, Flatten, Momentum, Nesterov, Tanh
from asmgen.peers.numpy_peer import NumpyPeer, set_blas_threads
from asmgen.plan.build import build_plan
from asmgen.reference.interpret import Interpreter

OPTIMIZERS = [
    SGD(0.1, weight_decay=0.01),
    Momentum(0.1, 0.8, weight_decay=0.01),
    Nesterov(0.1, 0.8, weight_decay=0.01),
    Adam(0.01, 0.8, 0.95, 1e-7, weight_decay=0.01),
    AdamW(0.01, 0.8, 0.95, 1e-7, weight_decay=0.1),
]


def compare(model, n_steps=3):
    parameters, images, labels = draw(model, np.random.default_rng(5))
    peer, reference = NumpyPeer(model, parameters), Interpreter(build_plan(model, 4), parameters)
    x = peer.inputs(images)
    for _ in range(n_steps):
        reference.run("derive")
        reference.begin_step(images, np.arange(len(images)), labels, len(images), model.optimizer.lr)
        reference.run("forward", "backward")
        assert peer.step(x, labels) == pytest.approx(reference.values["loss"][0].mean(), rel=1e-12)
        expected = reference.gradients()
        for name, gradient in peer.gradients().items():
            scale = np.abs(expected[name]).max() + 1e-300
            assert np.abs(expected[name] - gradient).max() <= 1e-11 * scale, name
        reference.run("update")
        for name, value in peer.parameters().items():
            np.testing.assert_allclose(value, reference.parameters()[name], rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_and_loss(network, loss):
    layers, outputs = NETWORKS[network]
    outputs = max(outputs, 2) if loss in SOFTMAX_LOSSES else outputs
    compare(make(layers, outputs, loss, softmax=loss in SOFTMAX_LOSSES))


@pytest.mark.parametrize("loss", WEIGHTED_LOSSES)
def test_weights_of_classes(loss):
    compare(make([Flatten(), Dense(5), Tanh()], 5, loss))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_every_optimizer(optimizer):
    compare(make([Flatten(), Dense(5), Tanh()], 3, "softmax_ce", optimizer))


def test_float32_stays_float32():
    model = make([*NETWORKS["conv_relu_avgpool"][0], Dense(3), Tanh()], 1, "bce", Adam(0.01), dtype="float32")
    parameters, images, labels = draw(model, np.random.default_rng(5))
    peer = NumpyPeer(model, parameters)
    x = peer.inputs(images)
    peer.step(x, labels)
    arrays = {"input": x, "logits": peer.logits(x), **peer.parameters(), **peer.gradients()}
    assert {name: array.dtype for name, array in arrays.items() if array.dtype != np.float32} == {}


def test_blas_threads_are_set_or_not_but_never_fail():
    assert set_blas_threads(1) in (True, False)
