"""The same model in PyTorch: the peer for parity tests and benchmarks. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from asmgen.graph.graph import Graph
from asmgen.graph.simplify import simplify
from asmgen.model.network import Model
from asmgen.model.trace import INPUT, classes_of, trace
from asmgen.ops.base import Layer
from asmgen.ops.losses import SoftmaxCrossEntropy
from asmgen.ops.optimizers import SGD, Adam, AdamW, Momentum, Nesterov
from asmgen.ops.torch import DrawnDropout, sequential


class TorchPeer:
    """The network (up to the loss's logits), loss and optimizer of a model, as PyTorch writes them.

    Parameter names are the model's ("0.weight"). Batches are u8 images [n, c, h, w] and labels [n]. dtype: other than
    the model's, if given.
    """

    def __init__(self, model: Model, parameters: Mapping[str, np.ndarray[Any, Any]], dtype: str | None = None) -> None:
        self.model = model
        self.dtype = torch.float32 if (dtype or model.dtype) == "float32" else torch.float64
        self.network = network_of(model).to(self.dtype)
        dropouts = (module for module in self.network.modules() if isinstance(module, DrawnDropout))
        for number, module in enumerate(dropouts):
            module.layer, module.seed = replace(module.layer, number=number), model.seed
        self.load(parameters)
        self.criterion = _criterion(model, self.dtype)
        self.loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = self._loss  # torch.compile replaces it
        self.optimizer = _optimizer(model, self.network)
        scale, shift = zip(*model.data.affine(model.input[0]), strict=True)
        self._scale = torch.tensor(scale, dtype=self.dtype).reshape(1, -1, 1, 1)
        self._shift = torch.tensor(shift, dtype=self.dtype).reshape(1, -1, 1, 1)

    def load(self, parameters: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Set all parameters from canonical arrays by name, and those buffers that are among them."""
        buffers = dict(self.network.named_buffers())
        state = {name: torch.tensor(np.asarray(value), dtype=self.dtype) for name, value in parameters.items()}
        self.network.load_state_dict({**buffers, **state})

    def parameters(self) -> dict[str, np.ndarray[Any, Any]]:
        """Canonical arrays by name."""
        return {name: value.detach().numpy().copy() for name, value in self.network.named_parameters()}

    def buffers(self) -> dict[str, np.ndarray[Any, Any]]:
        """What layers keep beside their parameters, by name."""
        return {name: value.numpy().copy() for name, value in self.network.named_buffers()}

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


def network_of(model: Model) -> nn.Module:
    """The network up to the loss's logits: nn.Sequential of a list, or a module that follows the calls."""
    graph = trace(model)
    logits = _logits(graph)
    nodes = [node for node in graph.nodes if isinstance(node.op, Layer)]
    if model.output is not None:
        return CallsModule(graph, logits)
    kept = model.layers if logits == nodes[-1].outputs[0] else model.layers[:-1]
    return sequential(kept, model.input)


class CallsModule(nn.Module):  # type: ignore[misc,unused-ignore]
    """The layers of a graph, called as it says; each is a submodule by the prefix of its parameters."""

    def __init__(self, graph: Graph, logits: str) -> None:
        super().__init__()
        self._logits = logits
        self._calls: list[tuple[nn.Module, tuple[str, ...], str]] = []
        parameters = {parameter.name for parameter in graph.parameters}
        for node in graph.nodes:
            if not isinstance(node.op, Layer):
                continue
            inputs = tuple(name for name in node.inputs if graph.values[name].role == "activation")
            module = node.op.torch(*(graph.values[name].shape for name in inputs))
            prefixes = [name.rpartition(".")[0] for name in node.inputs if name in parameters]
            _add(self, prefixes[0] if prefixes else node.label, module)
            self._calls.append((module, inputs, node.outputs[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {INPUT: x}
        for module, inputs, output in self._calls:
            values[output] = module(*(values[name] for name in inputs))
            if output == self._logits:
                break
        return values[self._logits]


def _add(parent: nn.Module, path: str, module: nn.Module) -> None:
    """`a.b` becomes the child b of the child a."""
    *folders, name = path.split(".")
    for folder in folders:
        if folder not in parent._modules:
            parent.add_module(folder, nn.Module())
        parent = parent.get_submodule(folder)
    known = parent._modules.pop(name, None)
    parent.add_module(name, module)
    for child, inside in known.named_children() if known is not None else ():  # `a.b` was met before `a`
        module.add_module(child, inside)


def _logits(graph: Graph) -> str:
    """The value that the loss works on, without a last Softmax or Sigmoid that is part of it."""
    return simplify(graph).nodes[-1].inputs[0]


def _criterion(model: Model, dtype: torch.dtype) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """loss(logits, labels), targets made from labels as the kernels do."""
    loss = model.loss.torch().to(dtype)
    if isinstance(model.loss, SoftmaxCrossEntropy):
        criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = loss
        return criterion
    classes = classes_of(model)

    def from_labels(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets = labels[:, None] if z.shape[1] == 1 else nn.functional.one_hot(labels, classes)
        value: torch.Tensor = loss(z, targets.to(z.dtype))
        return value

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
        case SGD():
            return torch.optim.SGD(parameters, lr, weight_decay=decay)
    raise TypeError(f"PyTorch's optimizer for {type(optimizer).__name__} is not known")
