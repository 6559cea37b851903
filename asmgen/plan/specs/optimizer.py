"""Spec of the optimizer's step."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.specs.base import (
    KernelSpec,
    dtype_tag,
    number_tag,
    require,
)


@dataclass(frozen=True)
class Update(KernelSpec):
    """One optimizer step over `n_vectors` vectors of parameters. States lie one after the other, each n_vectors long.

    kind: "sgd" (no state), "momentum", "nesterov" (one), "adam", "adamw" (m, then v). Formulas and the hyper block:
    docs/architecture.md.
    """

    kind: str
    dtype: str
    block: int
    n_vectors: int
    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0

    @property
    def n_states(self) -> int:
        return {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}[self.kind]

    @property
    def op(self) -> str:
        return f"update_{self.kind}"

    def slice_units(self) -> int:
        return self.n_vectors

    def stem(self) -> str:
        return f"{self.op}_v{self.n_vectors}{self.constants_tag()}_{dtype_tag(self.dtype)}"

    def constants_tag(self) -> str:
        """`_mu0p5_b0p9_0p99_eps1em06_wd0p01`: the optimizer's constants that are not PyTorch's usual ones."""
        betas = f"_b{number_tag(self.beta1)}_{number_tag(self.beta2)}"
        usual = _CONSTANTS[self.kind]
        tags = (
            f"_mu{number_tag(self.momentum)}" if self.momentum != usual.momentum else "",
            betas if (self.beta1, self.beta2) != (usual.beta1, usual.beta2) else "",
            f"_eps{number_tag(self.eps)}" if self.eps != usual.eps else "",
            f"_wd{number_tag(self.weight_decay)}" if self.weight_decay != usual.weight_decay else "",
        )
        return "".join(tags)

    def flops(self) -> int:
        per_element = {"sgd": 2, "momentum": 4, "nesterov": 6, "adam": 12, "adamw": 14}[self.kind]
        return per_element * self.n_vectors * self.block

    def check(self) -> None:
        super().check()
        require(self.kind in _CONSTANTS, self, f"kind must be one of {', '.join(_CONSTANTS)}")


@dataclass(frozen=True)
class _Constants:
    """Of an optimizer, as PyTorch has them; 0: it does not read it (a weight decay: none unless it is asked for)."""

    momentum: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0
    weight_decay: float = 0.0


_CONSTANTS = {
    "sgd": _Constants(),
    "momentum": _Constants(momentum=0.9),
    "nesterov": _Constants(momentum=0.9),
    "adam": _Constants(beta1=0.9, beta2=0.999, eps=1e-8),
    "adamw": _Constants(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01),
}
