"""Layers as PyTorch modules. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from asmgen.ops.base import Layer, Shape
from asmgen.ops.dropout import Dropout
from asmgen.ops.sequence import shape_behind
from asmgen.ops.windows import Pads


class Sum(nn.Module):  # type: ignore[misc,unused-ignore]
    """a + b + ..."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        total = inputs[0]
        for more in inputs[1:]:
            total = total + more
        return total


class Cat(nn.Module):  # type: ignore[misc,unused-ignore]
    """torch.cat([a, b, ...], dim=1)."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = torch.cat(inputs, dim=1)
        return joined


class BranchesModule(nn.Module):  # type: ignore[misc,unused-ignore]
    """The branches' outputs on one input, joined along channels."""

    def __init__(self, branches: Iterable[nn.Sequential]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = torch.cat([branch(x) for branch in self.branches], dim=1)
        return joined


class ResidualModule(nn.Module):  # type: ignore[misc,unused-ignore]
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.body(x) + self.shortcut(x)
        return total


class UnevenConv2d(nn.Conv2d):  # type: ignore[misc,unused-ignore]
    """nn.Conv2d with zeros of its own on each side: pads (top, bottom, left, right)."""

    def __init__(self, pads: Pads, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.pads = pads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top, bottom, left, right = self.pads
        y: torch.Tensor = super().forward(nn.functional.pad(x, (left, right, top, bottom)))
        return y


class DrawnDropout(nn.Dropout):  # type: ignore[misc,unused-ignore]
    """nn.Dropout with the masks of a trainer of this `seed`: the first training step draws those of step 0."""

    def __init__(self, layer: Dropout) -> None:
        super().__init__(layer.p)
        self.layer, self.seed, self.step = layer, 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        mask = torch.from_numpy(self.layer.mask(tuple(x.shape), self.seed, self.step))
        self.step += 1
        return x * mask.to(x)


class ScaleModule(nn.Module):  # type: ignore[misc,unused-ignore]
    """factor * x."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.factor * x
        return y


class PartBatchNorm(nn.Module):  # type: ignore[misc,unused-ignore]
    """nn.BatchNorm1d or 2d with `weight` alone (scale), or with `bias` alone."""

    def __init__(self, c: int, eps: float, momentum: float | None, *, scale: bool) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(c)) if scale else None
        self.bias = None if scale else nn.Parameter(torch.zeros(c))
        self.register_buffer("running_mean", torch.zeros(c))
        self.register_buffer("running_var", torch.ones(c))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = self.momentum
        if self.training:
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if share is None else share
        statistics = self.running_mean, self.running_var
        y: torch.Tensor = nn.functional.batch_norm(
            x, *statistics, self.weight, self.bias, self.training, share or 0.0, self.eps
        )
        return y


def sequential(layers: Iterable[Layer], x: Shape) -> nn.Sequential:
    """nn.Sequential of the layers: one layer, one module, so that its indices are the list's. x: the input's shape."""
    modules = []
    for layer in layers:
        modules.append(layer.torch(x))
        x = shape_behind([layer], x)
    return nn.Sequential(*modules)
