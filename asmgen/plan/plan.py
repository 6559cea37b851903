"""The Plan: every kernel call of a training step in order, with its tensors placed in one arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asmgen.errors import ReachError, UnsupportedError
from asmgen.ops.base import Buffer, Parameter
from asmgen.plan.layout import (
    LINE_BYTES,
    Activations,
    ChannelVectors,
    ConvWeights,
    ConvWeightsByInput,
    DenseWeights,
    DenseWeightsByOutput,
    NormParts,
    NormTable,
    RunningVectors,
)
from asmgen.plan.precision import Precision
from asmgen.plan.specs import DenseBackwardWeightsStep, KernelSpec, Update
from asmgen.plan.winograd import TransformedWeights

Weights = ConvWeights | ConvWeightsByInput | DenseWeights | DenseWeightsByOutput | ChannelVectors
Layout = Activations | Weights | TransformedWeights | RunningVectors | NormParts | NormTable

#: What the trainer hands to a step and reads from it; a step writes some of it in its own way.
GIVEN = ("indices", "pixels", "labels", "hyper", "loss")


@dataclass(frozen=True)
class Tensor:
    """A value in the arena, made once. `layout` is None for raw blocks (codes, indices, loss block, ...).

    owned: its memory is never shared, because something relies on what was there before (halos, pad lanes, state).
    home: the tensor whose memory it takes over, where it is made in place; that one's content is gone then.
    """

    name: str
    size_bytes: int
    layout: Layout | None = None
    owned: bool = False
    home: str | None = None


@dataclass(frozen=True)
class Entry:
    """One kernel call: `args` name arena tensors (None: unused; "images": the data set's first byte).

    `inputs` are read, `outputs` made, some of them in the memory of an input (Tensor.home). phase: "forward",
    "backward", "update" or "derive" (after initialisation, loading and every update).
    """

    phase: str
    spec: KernelSpec
    args: tuple[str | None, ...]
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The kernel's op and what is fused."""
        return self.spec.text


#: The programs of a plan: a training step, a forward pass up to the losses, a forward pass up to probabilities.
TRAIN, EVALUATE, INFER = "train", "evaluate", "infer"


@dataclass(frozen=True)
class Program:
    """What a plan can run over its arena: entries in execution order, and the tensors that they are run for."""

    name: str
    entries: tuple[Entry, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class LayerParameters:
    """The parameter block of one layer: tensor `conv1.w` with this layout, and its canonical parameters: at least one.

    stores_gradient: whether `d_conv1.w` is a tensor; else the optimizer's step consumes it where it is made.
    """

    label: str
    layout: Weights
    weight: Parameter | None
    bias: Parameter | None
    stores_gradient: bool

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those that there are."""
        return tuple(each for each in (self.weight, self.bias) if each is not None)

    @property
    def name(self) -> str:
        return f"{self.label}.w"

    @property
    def gradient(self) -> str:
        return f"d_{self.label}.w"


@dataclass(frozen=True)
class LayerBuffers:
    """What a layer keeps from step to step: tensor `norm1.running` with this layout, and its canonical buffers."""

    label: str
    layout: RunningVectors
    buffers: tuple[Buffer, ...]

    @property
    def name(self) -> str:
        return f"{self.label}.running"


@dataclass(frozen=True)
class Plan:
    """A model for one vector width: its programs, and all their tensors with their arena offsets in bytes.

    All programs work on one set of parameters; what lives in one program shares memory with what lives in another.

    parts: the tensors that a tensor consists of, such as all whose gradients are stored. updates: what becomes the
    content of which tensor for the next step: {"conv1.w": "conv1.w.next"}. where: `file:line` of each layer, by its
    label as in the entries, and of the model, as "".
    """

    model_name: str
    lanes: int
    precision: Precision
    batch: int
    programs: tuple[Program, ...]
    tensors: tuple[Tensor, ...]
    offsets: dict[str, int]
    arena_bytes: int
    parameters: tuple[LayerParameters, ...]
    buffers: tuple[LayerBuffers, ...]
    parts: Mapping[str, tuple[str, ...]]
    updates: Mapping[str, str]
    where: Mapping[str, str]

    @property
    def dtype(self) -> str:
        """Of what the arena stores."""
        return self.precision.storage

    def program(self, name: str) -> Program:
        """Raises KeyError for a program that the plan does not have."""
        for program in self.programs:
            if program.name == name:
                return program
        raise KeyError(name)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Those of a training step."""
        return self.program(TRAIN).entries

    @property
    def all_entries(self) -> tuple[Entry, ...]:
        """Those of all programs."""
        return tuple(entry for program in self.programs for entry in program.entries)

    def with_entries(self, entries: Sequence[Entry]) -> Plan:
        """The plan with another training step."""
        return replace(
            self,
            programs=tuple(
                replace(program, entries=tuple(entries)) if program.name == TRAIN else program
                for program in self.programs
            ),
        )

    def tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def home(self, name: str) -> str:
        """The tensor whose memory holds a value: itself, or what it took over."""
        return self.tensor(name).home or name

    @property
    def spans(self) -> dict[str, tuple[int, int]]:
        """[begin, end) of every tensor's bytes in the arena."""
        return {t.name: (self.offsets[t.name], self.offsets[t.name] + t.size_bytes) for t in self.tensors}

    def specs(self) -> list[KernelSpec]:
        """The distinct specs of all programs, in order of first use."""
        return list(dict.fromkeys(entry.spec for entry in self.all_entries))

    def out_of_reach(self, spec: KernelSpec, why: ReachError) -> UnsupportedError:
        """What to say where a target has no kernel for a spec, since its tensors are too large for one."""
        entry = next(entry for entry in self.all_entries if entry.spec == spec)
        sizes = {name: self.tensor(name).size_bytes for name in (*entry.inputs, *entry.outputs)}
        largest = max(sizes, key=lambda name: sizes[name])
        return UnsupportedError(
            self.where.get(entry.layer, self.where[""]),
            f"{entry.layer}: {entry.text} has no kernel for tensors so large: {why} ({largest} has "
            f"{sizes[largest] / 1e9:.1f} GB for a batch of {self.batch}); use a smaller layer, input or batch_size",
        )

    def phase(self, name: str) -> list[Entry]:
        return [entry for entry in self.all_entries if entry.phase == name]

    def optimizer(self) -> Update:
        """The optimizer's step, over whichever parameters come first."""
        steps = (spec.update if isinstance(spec, DenseBackwardWeightsStep) else spec for spec in self.specs())
        return next(step for step in steps if isinstance(step, Update))

    def check(self) -> None:
        """Raise ValueError unless the plan holds together: names, sizes, every value made once and read while its
        memory holds it, the next step's values there at the end, states where the specs say."""
        names = {tensor.name for tensor in self.tensors}
        if len(names) != len(self.tensors):
            raise ValueError(f"plan of {self.model_name}: two tensors of one name")
        for tensor in self.tensors:
            offset = self.offsets[tensor.name]
            if offset % LINE_BYTES or offset + tensor.size_bytes > self.arena_bytes:
                raise ValueError(f"tensor {tensor.name} at {offset} does not fit the arena of {self.arena_bytes} bytes")
        for entry in self.all_entries:
            entry.spec.check()
            if isinstance(entry.spec, DenseBackwardWeightsStep):
                at, *states = (self.offsets[name] for name in entry.outputs)
                if tuple(state - at for state in states) != entry.spec.state_bytes:
                    raise ValueError(f"{entry.text}: states of {entry.args[2]} do not lie {entry.spec.state_bytes}")
        for program in self.programs:
            self._check_contents(program)

    def _check_contents(self, program: Program) -> None:
        """Runs the entries on what the memory holds: the value of each tensor, or what took its place."""
        memory = Memory(self)
        made: set[str] = set()
        for entry in program.entries:
            for name in entry.inputs:
                memory.read(name, entry.text)
            for name in entry.outputs:
                if name in made:
                    raise ValueError(f"{entry.text}: {name} is made twice")
                made.add(name)
                memory.write(name)
        for name in program.results:
            if name not in made:
                raise ValueError(f"program {program.name}: nothing makes its result {name}")
        for old, new in self.updates.items():
            memory.read(new if program.name == TRAIN else old, "the next step")

    def __str__(self) -> str:
        facts = f"V = {self.lanes}, batch {self.batch}, arena {self.arena_bytes:,} bytes"
        lines = [f"{self.model_name}: {self.precision}, {facts}"]
        phase = ""
        width = max(len(entry.text) for entry in self.all_entries)
        for entry in self.all_entries:
            lead = f"{entry.phase:<9}" if entry.phase != phase else " " * 9
            phase = entry.phase
            sources = ", ".join(entry.inputs) or "images"
            targets = ", ".join(self._shaped(name) for name in entry.outputs)
            lines.append(f"{lead} {entry.text:<{width}}  {sources} -> {targets}")
        return "\n".join(lines)

    def memory(self) -> str:
        """The arena, one tensor a line, by offset."""
        lines = [f"{'offset':>12} {'bytes':>12}  tensor"]
        for tensor in sorted(self.tensors, key=lambda tensor: self.offsets[tensor.name]):
            layout = f"  {tensor.layout}" if tensor.layout is not None else ""
            lines.append(f"{self.offsets[tensor.name]:>12,} {tensor.size_bytes:>12,}  {tensor.name}{layout}")
        return "\n".join(lines)

    def _shaped(self, name: str) -> str:
        layout = self.tensor(name).layout
        return f"{name} {layout}" if layout is not None else name


class Memory:
    """What the arena holds while a plan runs: which tensors have their value, and which lost it to what."""

    def __init__(self, plan: Plan) -> None:
        self._spans = plan.spans
        self._names = tuple(self._spans)
        self._bounds = np.array([*self._spans.values()]).reshape(-1, 2)
        self._parts = plan.parts
        self._wholes = {part: whole for whole, parts in plan.parts.items() for part in parts}
        # There before the first entry: parameters, states, what is derived from them, what the trainer hands over.
        kept = {*GIVEN, *plan.updates}
        self._lost = dict.fromkeys(self._spans.keys() - kept - plan.parts.keys(), "nothing has made it")

    def read(self, name: str, reader: str) -> None:
        """Raise ValueError unless the memory of a tensor holds its value."""
        if name not in self._spans:
            raise ValueError(f"{reader}: no tensor {name}")
        for each in (name, *self._parts.get(name, ())):
            if each in self._lost:
                raise ValueError(f"{reader}: reads {each}, but {self._lost[each]}")

    def write(self, name: str) -> None:
        """A tensor gets its value; what shares its memory loses its own, but for its parts, which get theirs."""
        begin, end = self._spans[name]
        kept = (name, self._wholes.get(name))
        for at in np.flatnonzero((self._bounds[:, 0] < end) & (begin < self._bounds[:, 1])):
            if (other := self._names[at]) not in kept:
                self._lost[other] = f"{name} lies there"
        for made in (name, *self._parts.get(name, ())):
            self._lost.pop(made, None)


def program_of(phase: str) -> str:
    """The program that a phase belongs to."""
    return phase if phase in (EVALUATE, INFER) else TRAIN
