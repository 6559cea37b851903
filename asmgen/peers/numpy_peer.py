"""The same model in NumPy with BLAS: forward, backward and update as one writes them by hand."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from asmgen.errors import UnsupportedError
from asmgen.graph.simplify import simplify
from asmgen.model.network import Model
from asmgen.model.trace import INPUT, classes_of, trace
from asmgen.ops.base import Layer
from asmgen.ops.losses import BinaryCrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError, SoftmaxCrossEntropy
from asmgen.ops.optimizers import Adam, AdamW, Momentum, Nesterov
from asmgen.peers.numpy_layers import Array, Node, node_of


class NumpyPeer:
    """Network, loss and optimizer of a model in its dtype. Parameter names are the model's ("0.weight")."""

    def __init__(self, model: Model, parameters: Mapping[str, Array]) -> None:
        self.model = model
        self.dtype = np.dtype(model.dtype)
        self._nodes: dict[str, Node] = {}
        graph = trace(model)
        logits = simplify(graph).nodes[-1].inputs[0]
        x = INPUT
        for placed in (node for node in graph.nodes if isinstance(node.op, Layer)):
            if placed.inputs[0] != x:
                raise UnsupportedError(placed.where, f"{placed.label}: the NumPy peer knows chains of layers only")
            if x == logits:
                break
            path = next((name.rpartition(".")[0] for name in placed.inputs if name in parameters), placed.label)
            self._nodes[path] = node_of(placed, is_first=x == INPUT)
            x = placed.outputs[0]
        for name, value in parameters.items():
            path, _, kind = name.rpartition(".")
            self._nodes[path].parameters[kind] = np.array(value, self.dtype)
        self._states: dict[str, list[Array]] = {
            name: [np.zeros_like(value) for _ in range(2)] for name, value in self.parameters().items()
        }
        self._n_steps = 0
        scale, shift = zip(*model.data.affine(model.input[0]), strict=True)
        self._scale = np.array(scale, self.dtype).reshape(1, -1, 1, 1)
        self._shift = np.array(shift, self.dtype).reshape(1, -1, 1, 1)

    def parameters(self) -> dict[str, Array]:
        """The arrays themselves, by name."""
        return {f"{i}.{kind}": value for i, node in self._nodes.items() for kind, value in node.parameters.items()}

    def gradients(self) -> dict[str, Array]:
        """Of the last step, by parameter name."""
        return {f"{i}.{kind}": value for i, node in self._nodes.items() for kind, value in node.gradients.items()}

    def inputs(self, images: Array) -> Array:
        """u8 images as the network's input."""
        x: Array = images.astype(self.dtype) * self._scale + self._shift
        return x

    def logits(self, x: Array) -> Array:
        """[n, outputs] of a batch that `inputs` made."""
        for node in self._nodes.values():
            x = node.forward(x)
        return x

    def step(self, x: Array, labels: Array, lr: float | None = None) -> float:
        """One training step; returns the loss before it. lr: instead of the model's."""
        loss, dy = self._loss(self.logits(x), labels)
        for node in reversed(self._nodes.values()):
            dy = node.backward(dy)
        self._update(self.model.optimizer.lr if lr is None else lr)
        return loss

    def _loss(self, z: Array, labels: Array) -> tuple[float, Array]:
        """(mean loss, dz)."""
        outputs = z.shape[1]
        classes = np.eye(classes_of(self.model), dtype=z.dtype)
        target = labels[:, None].astype(z.dtype) if outputs == 1 else classes[labels]
        difference = z - target
        match self.model.loss:
            case SoftmaxCrossEntropy(label_smoothing=smoothing, class_weights=class_weights):
                weights = np.array(class_weights or (1.0,) * outputs, z.dtype)
                target = weights * ((1 - smoothing) * target + smoothing / outputs)
                count = weights[labels].sum()
                shifted = z - z.max(1, keepdims=True)
                e = np.exp(shifted)
                total = e.sum(1, keepdims=True)
                loss = float(((np.log(total) - shifted) * target).sum() / count)
                return loss, (e / total * target.sum(1, keepdims=True) - target) / count
            case BinaryCrossEntropy():
                e = np.exp(-np.abs(z))
                loss = float((np.maximum(z, 0) - z * target + np.log1p(e)).mean())
                return loss, (np.where(z >= 0, 1, e).astype(z.dtype) / (1 + e) - target) / z.size
            case MeanSquaredError():
                return float((difference**2).mean()), 2 * difference / z.size
            case MeanAbsoluteError():
                return float(np.abs(difference).mean()), np.sign(difference) / z.size
            case Huber(delta=delta):
                clamped = np.clip(difference, -delta, delta)
                return float((clamped * (difference - clamped / 2)).mean()), clamped / z.size
        name = type(self.model.loss).__name__
        raise UnsupportedError(self.model.loss.where, f"{name}: the NumPy peer does not know this loss")

    def _update(self, lr: float) -> None:
        self._n_steps += 1
        gradients = self.gradients()
        for name, w in self.parameters().items():
            self._update_one(w, gradients[name], self._states[name], lr)

    def _update_one(self, w: Array, g: Array, state: list[Array], lr: float) -> None:
        """w and state in place."""
        optimizer = self.model.optimizer
        if isinstance(optimizer, AdamW):
            w -= lr * optimizer.weight_decay * w
        elif optimizer.weight_decay:
            g = g + optimizer.weight_decay * w
        if isinstance(optimizer, Adam):
            m, v = state
            m += (1 - optimizer.beta1) * (g - m)
            v += (1 - optimizer.beta2) * (g * g - v)
            step = lr / (1 - optimizer.beta1**self._n_steps)
            w -= step * m / (np.sqrt(v) / (1 - optimizer.beta2**self._n_steps) ** 0.5 + optimizer.eps)
        elif isinstance(optimizer, Momentum):
            velocity = state[0]
            velocity *= optimizer.momentum
            velocity += g
            w -= lr * (g + optimizer.momentum * velocity if isinstance(optimizer, Nesterov) else velocity)
        else:
            w -= lr * g


def set_blas_threads(threads: int) -> bool:
    """Tell the OpenBLAS that NumPy has loaded; False where there is none to tell."""
    with open("/proc/self/maps") as file:
        paths = {line.split()[-1] for line in file if "openblas" in line and ".so" in line}
    done = False
    for path in sorted(paths):
        library: Any = ctypes.CDLL(path)
        for prefix in ("scipy_", ""):
            for suffix in ("64_", ""):
                function = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
                if function is not None:
                    function(ctypes.c_int(threads))
                    done = True
    return done
