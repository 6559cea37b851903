"""What a rule of a gradient sees: the node, its values and their gradients, and how to add nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asmgen.ops.base import Op, Shape


class Gradients(Protocol):
    """One node under differentiation (asmgen/graph/differentiate.py makes it).

    `inputs` and `outputs` are names of values; `grads` the gradients of the outputs, by output. `wants[i]`: whether
    anybody asks for the gradient of input i.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    grads: tuple[str, ...]
    wants: tuple[bool, ...]

    def add(self, op: Op, *inputs: str) -> str:
        """A node with one output: the output's name."""
        ...

    def add_all(self, op: Op, *inputs: str) -> tuple[str, ...]:
        """A node: its outputs' names."""
        ...

    def shape(self, value: str) -> Shape:
        """Of a value."""
        ...
