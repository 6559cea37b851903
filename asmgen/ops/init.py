"""How parameters start: He and Xavier initialisation with PyTorch's fans, zeros, or values from a file.

For a convolution fan_in = c * kh * kw and fan_out = oc * kh * kw; for a dense layer the numbers of inputs and outputs.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Protocol

from asmgen.errors import ModelError
from asmgen.ops.located import Located


@dataclass(frozen=True)
class Initializer:
    """Base of the initialisers."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        """(kind, scale): ("uniform", bound), ("normal", std), ("zeros", 0), ("constant", value) or ("data", 0)."""
        raise NotImplementedError


@dataclass(frozen=True)
class HeUniform(Initializer):
    """Uniform in [-bound, bound), bound = sqrt(6 / fan_in) (He et al., 2015)."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "uniform", math.sqrt(6 / fan_in)


@dataclass(frozen=True)
class HeNormal(Initializer):
    """Normal with std = sqrt(2 / fan_in) (He et al., 2015)."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "normal", math.sqrt(2 / fan_in)


@dataclass(frozen=True)
class XavierUniform(Initializer):
    """Uniform in [-bound, bound), bound = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "uniform", math.sqrt(6 / (fan_in + fan_out))


@dataclass(frozen=True)
class XavierNormal(Initializer):
    """Normal with std = sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "normal", math.sqrt(2 / (fan_in + fan_out))


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros; the default of biases."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "zeros", 0.0


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones; the weights of a normalisation."""

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "constant", 1.0


@dataclass(frozen=True)
class FromFile(Located, Initializer):
    """Values from a `.npy` or `.safetensors` file in PyTorch's layout: conv [oc, c, kh, kw], dense [out, in], bias [n].

    `path` is relative to the model file's folder. `key` names the tensor in a safetensors file; without it, the
    parameter's own name ("0.weight").
    """

    path: str
    key: str | None = None

    def check(self) -> None:
        suffix = os.path.splitext(self.path)[1] if isinstance(self.path, str) else None
        if suffix not in (".npy", ".safetensors"):
            raise self.error(f"path={self.path!r} must name a .npy or .safetensors file")
        if suffix == ".npy" and self.key is not None:
            raise self.error(f"key={self.key!r}: a .npy file holds one tensor; leave key out")

    def init_for(self, fan_in: int, fan_out: int) -> tuple[str, float]:
        return "data", 0.0

    @property
    def resolved_path(self) -> str:
        """`path` seen from the current directory."""
        model_file = self.where.rpartition(":")[0]
        return os.path.join(os.path.dirname(model_file), self.path)


WEIGHT_INIT = HeUniform()
BIAS_INIT = Zeros()


class HasParameters(Protocol):
    """A layer with weights and, if `bias`, one bias an output."""

    @property
    def bias(self) -> bool: ...
    @property
    def bias_init(self) -> Initializer: ...

    def need_flag(self, name: str) -> None: ...
    def need_instance(self, name: str, kind: type, examples: str) -> None: ...
    def error(self, message: str) -> ModelError: ...


def check_parameters(layer: HasParameters) -> None:
    """Check the bias flag and both initialisers. Raises ModelError."""
    layer.need_flag("bias")
    examples = "an initialiser such as HeUniform() or XavierNormal()"
    layer.need_instance("init", Initializer, examples)
    layer.need_instance("bias_init", Initializer, examples)
    if not layer.bias and layer.bias_init != BIAS_INIT:
        raise layer.error("bias_init is given, but bias=False")
