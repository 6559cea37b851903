"""The same model in PyTorch: the peer for parity tests and benchmarks. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from asmgen.errors import ModelError
from asmgen.model.geometry import LayerShape
from asmgen.model.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from asmgen.model.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from asmgen.model.network import Model
from asmgen.model.optimizers import Adam, AdamW, Momentum, Nesterov
from asmgen.model.shapes import classes_of, infer_shapes, logit_layers


class TorchPeer:
    """The network (up to the loss's logits), loss and optimizer of a model, as PyTorch writes them.

    Parameter names are the model's ("0.weight"). Batches are u8 images [n, c, h, w] and labels [n]. dtype: other than
    the model's, if given.
    """

    def __init__(self, model: Model, parameters: Mapping[str, np.ndarray[Any, Any]], dtype: str | None = None) -> None:
        self.model = model
        self.dtype = torch.float32 if (dtype or model.dtype) == "float32" else torch.float64
        shapes = infer_shapes(model)[: len(logit_layers(model))]
        self.network = nn.Sequential(*(layer for placed in shapes for layer in _modules(placed))).to(self.dtype)
        self.load(parameters)
        self.criterion = _criterion(model)
        self.loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = self._loss  # torch.compile replaces it
        self.optimizer = _optimizer(model, self.network)
        scale, shift = zip(*model.data.affine(model.input[0]), strict=True)
        self._scale = torch.tensor(scale, dtype=self.dtype).reshape(1, -1, 1, 1)
        self._shift = torch.tensor(shift, dtype=self.dtype).reshape(1, -1, 1, 1)

    def load(self, parameters: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Set the parameters from canonical arrays by name."""
        state = {name: torch.tensor(np.asarray(value), dtype=self.dtype) for name, value in parameters.items()}
        self.network.load_state_dict(state)

    def parameters(self) -> dict[str, np.ndarray[Any, Any]]:
        """Canonical arrays by name."""
        return {name: value.detach().numpy().copy() for name, value in self.network.state_dict().items()}

    def gradients(self) -> dict[str, np.ndarray[Any, Any]]:
        """Canonical gradients of the last step by parameter name."""
        named = self.network.named_parameters()
        return {name: value.grad.numpy().copy() for name, value in named if value.grad is not None}

    def inputs(self, images: np.ndarray[Any, Any]) -> torch.Tensor:
        """u8 images as the network's input."""
        return torch.from_numpy(np.ascontiguousarray(images)).to(self.dtype) * self._scale + self._shift

    def _loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch that `inputs` made."""
        return self.criterion(self.network(x), labels)

    def step(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One training step; returns the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def _modules(placed: LayerShape) -> list[nn.Module]:
    """The module of one layer; one layer, one module, so that the indices of nn.Sequential are the model's."""
    layer = placed.layer
    match layer:
        case Conv2D():
            top, bottom, left, right = layer.pads
            if (top, left) != (bottom, right):
                raise ModelError(placed.where, f"{placed.label}: PyTorch needs a second module for uneven padding")
            c = placed.in_shape[0]
            return [nn.Conv2d(c, layer.filters, layer.kernel, layer.stride, (top, left), bias=layer.bias)]
        case Dense():
            return [nn.Linear(placed.in_shape[0], layer.units, bias=layer.bias)]
        case MaxPool2D():
            return [nn.MaxPool2d(layer.window, layer.stride)]
        case AvgPool2D():
            return [nn.AvgPool2d(layer.window, layer.stride)]
        case Flatten():
            return [nn.Flatten()]
        case ReLU():
            return [nn.ReLU()]
        case LeakyReLU():
            return [nn.LeakyReLU(layer.alpha)]
        case Sigmoid():
            return [nn.Sigmoid()]
        case Tanh():
            return [nn.Tanh()]
        case Softmax():
            return [nn.Softmax(dim=1)]
    raise ModelError(placed.where, f"{placed.label}: no PyTorch module for {type(layer).__name__}")


def _criterion(model: Model) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """loss(logits, labels), targets made from labels as the kernels do."""
    if isinstance(model.loss, SoftmaxCrossEntropy):
        criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.CrossEntropyLoss()
        return criterion
    loss = nn.BCEWithLogitsLoss() if isinstance(model.loss, BinaryCrossEntropy) else nn.MSELoss()
    classes = classes_of(model)

    def from_labels(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets = labels[:, None] if z.shape[1] == 1 else nn.functional.one_hot(labels, classes)
        return loss(z, targets.to(z.dtype))

    return from_labels


def _optimizer(model: Model, network: nn.Module) -> torch.optim.Optimizer:
    optimizer, parameters = model.optimizer, network.parameters()
    lr, decay = optimizer.lr, optimizer.weight_decay
    match optimizer:
        case AdamW():
            betas = optimizer.beta1, optimizer.beta2
            return torch.optim.AdamW(parameters, lr, betas, optimizer.eps, weight_decay=decay)
        case Adam():
            betas = optimizer.beta1, optimizer.beta2
            return torch.optim.Adam(parameters, lr, betas, optimizer.eps, weight_decay=decay)
        case Nesterov():
            return torch.optim.SGD(parameters, lr, optimizer.momentum, weight_decay=decay, nesterov=True)
        case Momentum():
            return torch.optim.SGD(parameters, lr, optimizer.momentum, weight_decay=decay)
    return torch.optim.SGD(parameters, lr, weight_decay=decay)
