"""The interpreter of the plan against PyTorch (float64) and against finite differences."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from networks import EVERY_NETWORK, LOSSES, SOFTMAX_LOSSES, WEIGHTED_LOSSES, draw, make

from asmgen import SGD, Adam, AdamW, Conv2D, Dense, Flatten, Input, Momentum, Nesterov, Residual, Tanh
from asmgen.plan.build import build_plan
from asmgen.reference.interpret import Interpreter


def begin(reference, images, labels, present, lr):
    reference.run("derive")
    reference.begin_step(images, np.arange(len(images)), labels, present, lr)
    reference.run("forward", "backward")


@pytest.mark.parametrize("network", EVERY_NETWORK)
def test_gradients_are_finite_differences(network):
    layers, outputs = EVERY_NETWORK[network]
    model = make(layers, outputs)
    rng = np.random.default_rng(3)
    parameters, images, labels = draw(model, rng)
    plan = build_plan(model, 4)
    present = model.batch_size - 1

    def loss(values):
        reference = Interpreter(plan, values)
        begin(reference, images, labels, present, 0.1)
        return reference.values["loss"][0].sum() / present, reference

    _, reference = loss(parameters)
    checked = 0
    for name, gradient in reference.gradients().items():
        for index in rng.integers(0, gradient.size, 4):
            sides = []
            for sign in (1, -1):
                moved = {key: value.copy() for key, value in parameters.items()}
                moved[name].reshape(-1)[index] += sign * 1e-6
                sides.append(loss(moved)[0])
            numeric = (sides[0] - sides[1]) / 2e-6
            # A step across a kink of ReLU or max changes the difference by at most the kink's share of one sample.
            assert gradient.reshape(-1)[index] == pytest.approx(numeric, rel=1e-4, abs=1e-6), (name, index)
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", EVERY_NETWORK)
def test_steps_are_pytorchs(network, loss):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    layers, outputs = EVERY_NETWORK[network]
    outputs = max(outputs, 2) if loss in SOFTMAX_LOSSES else outputs
    _compare_with_torch(make(layers, outputs, loss, Momentum(0.05, 0.9), softmax=loss in SOFTMAX_LOSSES))


@pytest.mark.parametrize("loss", WEIGHTED_LOSSES)
def test_weights_of_classes_are_pytorchs(loss):
    """Also of a batch that is not full: the mean is over the weights of the samples present."""
    pytest.importorskip("torch")
    _compare_with_torch(make([Flatten(), Dense(5), Tanh()], 5, loss, Momentum(0.05, 0.9)))


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1, weight_decay=0.01),
        Momentum(0.1, 0.8, weight_decay=0.01),
        Nesterov(0.1, 0.8, weight_decay=0.01),
        Adam(0.01, 0.8, 0.95, 1e-7, weight_decay=0.01),
        AdamW(0.01, 0.8, 0.95, 1e-7, weight_decay=0.1),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_optimizers_are_pytorchs(optimizer):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    _compare_with_torch(make([Flatten(), Dense(5), Tanh()], 3, "softmax_ce", optimizer))


def test_a_residual_that_is_called_is_pytorchs():
    pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    x = Input(2, 11, 10)
    y = Dense(3)(Flatten()(Residual([Conv2D(4, 3, padding=1), Tanh()], [Conv2D(4, 1)])(x)))
    _compare_with_torch(dataclasses.replace(make([Flatten()], 3), layers=(), input=x, output=y, optimizer=SGD(0.01)))


def _compare_with_torch(model, n_steps=4):
    import torch

    from asmgen.peers.torch_peer import TorchPeer

    rng = np.random.default_rng(5)
    parameters, images, labels = draw(model, rng)
    peer = TorchPeer(model, parameters)
    reference = Interpreter(build_plan(model, 4), parameters)
    reference.seed = model.seed
    for step in range(n_steps):
        present = model.batch_size - (step == 2)
        begin(reference, images, labels, present, model.optimizer.lr)
        loss = peer.step(peer.inputs(images[:present]), torch.from_numpy(labels[:present]))
        assert reference.values["loss"][0].sum() / present == pytest.approx(float(loss), rel=1e-12)
        for name, gradient in peer.gradients().items():
            scale = np.abs(gradient).max() + 1e-4  # slopes of an absolute error may cancel
            assert np.abs(reference.gradients()[name] - gradient).max() <= 1e-11 * scale, name
        reference.run("update")
        for name, value in (peer.parameters() | peer.buffers()).items():
            found = (reference.parameters() | reference.buffers())[name]
            np.testing.assert_allclose(found, value, rtol=1e-10, atol=1e-13, err_msg=name)
