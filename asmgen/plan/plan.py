"""The Plan: every kernel call of a training step in order, with its tensors placed in one arena."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from asmgen.errors import ReachError, UnsupportedError
from asmgen.model.params import Parameter
from asmgen.plan.layout import (
    LINE_BYTES,
    Activations,
    ConvWeights,
    ConvWeightsByInput,
    DenseWeights,
    DenseWeightsByOutput,
)
from asmgen.plan.specs import DenseUpdate, KernelSpec, Update
from asmgen.plan.winograd import TransformedWeights

Weights = ConvWeights | ConvWeightsByInput | DenseWeights | DenseWeightsByOutput
Layout = Activations | Weights | TransformedWeights


@dataclass(frozen=True)
class Tensor:
    """A piece of the arena. `layout` is None for raw blocks (codes, indices, loss block, ...).

    owned: its memory is never shared, because something relies on what was there before (halos, pad lanes, state).
    """

    name: str
    size_bytes: int
    layout: Layout | None = None
    owned: bool = False


@dataclass(frozen=True)
class Entry:
    """One kernel call: `args` name arena tensors (None: unused; "images": the data set's first byte).

    `inputs` are read, `outputs` written; one worked on in place is both. phase: "forward", "backward", "update" or
    "derive" (after initialisation, loading and every update).
    """

    phase: str
    spec: KernelSpec
    args: tuple[str | None, ...]
    layer: str
    text: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class LayerParameters:
    """The parameter block of one layer: tensor `w<g>` with this layout, and its canonical parameters.

    stores_gradient: whether `dw<g>` is a tensor; else the optimizer's step consumes it where it is made.
    """

    group: int
    layout: Weights
    weight: Parameter
    bias: Parameter | None
    stores_gradient: bool

    @property
    def name(self) -> str:
        return f"w{self.group}"

    @property
    def gradient(self) -> str:
        return f"dw{self.group}"


@dataclass(frozen=True)
class Plan:
    """A model for one vector width: entries in execution order, tensors with their arena offsets in bytes.

    where: `file:line` of each layer, by its label as in the entries, and of the model, as "".
    """

    model_name: str
    lanes: int
    dtype: str
    batch: int
    entries: tuple[Entry, ...]
    tensors: tuple[Tensor, ...]
    offsets: dict[str, int]
    arena_bytes: int
    parameters: tuple[LayerParameters, ...]
    input: str
    logits: str
    where: Mapping[str, str]

    def tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    @property
    def spans(self) -> dict[str, tuple[int, int]]:
        """[begin, end) of every tensor's bytes in the arena."""
        return {t.name: (self.offsets[t.name], self.offsets[t.name] + t.size_bytes) for t in self.tensors}

    def specs(self) -> list[KernelSpec]:
        """The distinct specs, in order of first use."""
        return list(dict.fromkeys(entry.spec for entry in self.entries))

    def out_of_reach(self, spec: KernelSpec, why: ReachError) -> UnsupportedError:
        """What to say where a target has no kernel for a spec, since its tensors are too large for one."""
        entry = next(entry for entry in self.entries if entry.spec == spec)
        sizes = {name: self.tensor(name).size_bytes for name in (*entry.inputs, *entry.outputs)}
        largest = max(sizes, key=lambda name: sizes[name])
        return UnsupportedError(
            self.where.get(entry.layer, self.where[""]),
            f"{entry.layer}: {entry.text} has no kernel for tensors so large: {why} ({largest} has "
            f"{sizes[largest] / 1e9:.1f} GB for a batch of {self.batch}); use a smaller layer, input or batch_size",
        )

    def phase(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.phase == name]

    def optimizer(self) -> Update:
        """The optimizer's step, over whichever parameters come first."""
        steps = (spec.update if isinstance(spec, DenseUpdate) else spec for spec in self.specs())
        return next(step for step in steps if isinstance(step, Update))

    def check(self) -> None:
        """Raise ValueError unless the plan holds together: names, sizes, aliasing, inputs written before read, states
        where the specs say, and parameters not read behind their update."""
        names = {tensor.name for tensor in self.tensors}
        if len(names) != len(self.tensors):
            raise ValueError(f"plan of {self.model_name}: two tensors of one name")
        sizes = {tensor.name: tensor.size_bytes for tensor in self.tensors}
        for tensor in self.tensors:
            offset = self.offsets[tensor.name]
            if offset % LINE_BYTES or offset + tensor.size_bytes > self.arena_bytes:
                raise ValueError(f"tensor {tensor.name} at {offset} does not fit the arena of {self.arena_bytes} bytes")
        written = {tensor.name for tensor in self.tensors if tensor.owned}
        contents: dict[str, str] = {}
        updated: set[str] = set()
        for entry in self.entries:
            entry.spec.check()
            for name in entry.inputs:
                if name in updated:
                    raise ValueError(f"{entry.text}: reads {name} after its update")
                if name not in names:
                    raise ValueError(f"{entry.text}: no tensor {name}")
                if name not in written:
                    raise ValueError(f"{entry.text}: reads {name} before anything wrote it")
                if contents.get(name, name) != name:
                    raise ValueError(f"{entry.text}: {name} was overwritten by {contents[name]}")
            for name in entry.outputs:
                written.add(name)
                begin, end = self.offsets[name], self.offsets[name] + sizes[name]
                for other in self.tensors:
                    other_begin = self.offsets[other.name]
                    if other_begin < end and begin < other_begin + other.size_bytes:
                        contents[other.name] = name if not _is_part(other, name) else other.name
            if isinstance(entry.spec, DenseUpdate):
                updated.update(entry.outputs)
                at, *states = (self.offsets[name] for name in entry.outputs)
                if tuple(state - at for state in states) != entry.spec.state_bytes:
                    raise ValueError(f"{entry.text}: states of {entry.outputs[0]} do not lie {entry.spec.state_bytes}")

    def __str__(self) -> str:
        lines = [
            f"{self.model_name}: {self.dtype}, V = {self.lanes}, batch {self.batch}, arena {self.arena_bytes:,} bytes"
        ]
        phase = ""
        width = max(len(entry.text) for entry in self.entries)
        for entry in self.entries:
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


def _is_part(tensor: Tensor, whole: str) -> bool:
    """Whether `tensor` lies inside the region tensor `whole` (params, grads), so that writing one writes the other."""
    regions = {"params": "w", "grads": "dw"}
    if whole in regions:
        return tensor.name.startswith(regions[whole])
    for region, prefix in regions.items():
        if tensor.name == region and whole.startswith(prefix):
            return True
    return tensor.name == whole
