"""How a small network of dense layers trains as one persistent kernel per chunk of steps (docs/cuda.md).

The blocks of a cluster share every layer by its inputs: block r has the columns [r slice, (r + 1) slice) of the
weights, and of the layer's input. Its products are partial sums of all outputs; they go to the blocks that have those
outputs as inputs of the next layer, which add them up in the order of the blocks. Gradients of outputs go to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asmgen.plan import specs
from asmgen.plan.layout import ELEMENT_BYTES, round_up
from asmgen.plan.plan import Plan
from asmgen.plan.specs import Activation, LoadInput, Loss, Update

PARAMETERS = "dense_w"  # what the plan calls the parameters of all dense layers, one behind the other
_PAD = 4  # elements behind a row, so that the rows of a fragment lie in different banks
_SLOTS = 3  # steps whose numbers are held: this one's, the next one's, and those under way
_HEAD_BYTES = 48  # of a step's row: the head of the loss block and the hyper block


@dataclass(frozen=True)
class Product:
    """Tiles of a product of matrices in shared memory, `across` of them side by side a task; k counts to depth."""

    row_tiles: int
    column_tiles: int
    depth: int
    across: int

    @property
    def tasks(self) -> int:
        return self.row_tiles * -(-self.column_tiles // self.across)


@dataclass(frozen=True)
class Layer:
    """A dense layer and the activation behind it. Strides, `weights_at` and `bias_at` (in params) count elements."""

    number: int  # its tensors are w<number>, ...
    label: str
    inputs: int
    outputs: int
    row: int  # stride of a row of weights in the arena
    weights_at: int
    bias_at: int | None
    act: Activation
    slice: int  # inputs of a block
    padded: int  # outputs, in whole tiles
    forward: Product
    backward: Product  # gradient of the input
    weights: Product  # gradient of the weights

    @property
    def stride(self) -> int:
        """Of a block's weights and inputs."""
        return self.slice + _PAD

    @property
    def gradient_stride(self) -> int:
        """Of the gradients of all outputs."""
        return self.padded + _PAD


@dataclass(frozen=True)
class Buffer:
    """What blocks write to each other: `size` elements at `at`, written in phase `begin`, read until phase `end`."""

    name: str
    size: int
    begin: int
    end: int
    at: int = 0


@dataclass(frozen=True)
class Resident:
    """How a model trains in one kernel. Shared memory counts bytes."""

    plan: Plan
    load: LoadInput
    loss: Loss
    update: Update
    states: tuple[int, ...]  # elements from a parameter to its states
    keeps_states: bool  # of weights, in shared memory; else they stay in the arena
    arithmetic: str
    cluster: int
    warps: int
    samples: int  # of a batch, in whole tiles
    layers: tuple[Layer, ...]
    buffers: tuple[Buffer, ...]
    cycles: int  # of a step, estimated

    @property
    def symbol(self) -> str:
        shape = "_".join(str(layer.outputs) for layer in self.layers)
        what = f"{self.loss.kind}{self.loss.constants_tag()}_{self.update.kind}_{specs.dtype_tag(self.plan.dtype)}"
        return f"resident_n{self.plan.batch}f{self.layers[0].inputs}_{shape}_{what}_cuda"

    @property
    def state_names(self) -> tuple[str, ...]:
        """As the optimizers' formulas call them."""
        return ("m", "v")[2 - len(self.states) :]

    @property
    def samples_of_block(self) -> int:
        """Samples whose losses a block computes."""
        return -(-self.samples // self.cluster)

    def buffer(self, name: str) -> Buffer:
        return next(buffer for buffer in self.buffers if buffer.name == name)

    @property
    def shared_map(self) -> tuple[tuple[str, int, str], ...]:
        """(name, bytes, what) of shared memory, in order; every size is a multiple of 16."""
        return tuple(_shared_map(self))

    @property
    def shared_bytes(self) -> int:
        return sum(size for _, size, _ in self.shared_map)


@dataclass(frozen=True)
class Refusal:
    """Why a model does not train in one kernel."""

    reason: str


def _shared_map(resident: Resident) -> Iterator[tuple[str, int, str]]:
    size, samples = ELEMENT_BYTES[resident.plan.dtype], resident.samples
    states = len(resident.states)
    for layer in resident.layers:
        weights = round_up(layer.padded * layer.stride * size, 16)
        yield f"w{layer.number}", weights, "weights of the block's inputs"
        if resident.keeps_states:
            for name in resident.state_names:
                yield f"{name}{layer.number}", weights, "of these weights"
        if layer.bias_at is not None:
            sizes = (1 + states) * layer.padded * size
            yield f"b{layer.number}", round_up(sizes, 16), f"bias, {states} states"
    for layer in resident.layers:
        yield f"x{layer.number}", round_up(samples * layer.stride * size, 16), f"{layer.label}: the block's inputs"
    yield "z", round_up(resident.samples_of_block * resident.layers[-1].padded * size, 16), "of the block's samples"
    exchange = max(buffer.at + buffer.size for buffer in resident.buffers)
    yield "exchange", round_up(exchange * size, 16), "what other blocks write"
    yield "pixels", round_up(samples * resident.layers[0].slice, 16), "of the next step"
    yield "rows", _SLOTS * _HEAD_BYTES, "numbers of three steps"
    yield "numbers", round_up(_SLOTS * samples * 4, 16), "samples of three steps"
    yield "labels", round_up(samples * 4, 16), "of this step"
