"""What a plan is written with: the graph, layouts and choices of kernels, the tensors and entries so far."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from asmgen.graph.differentiate import next_name
from asmgen.graph.graph import Graph, Node
from asmgen.model.network import Model
from asmgen.ops.base import Shape
from asmgen.ops.flatten import Flatten, Unflatten
from asmgen.plan.choice import ConvChoice
from asmgen.plan.lay_out import Layouts
from asmgen.plan.layout import NO_HALO, Activations, Halo, Image, Rows
from asmgen.plan.plan import TRAIN, Entry, LayerBuffers, LayerParameters, Layout, Tensor
from asmgen.plan.policy import DenseLanes, Policy
from asmgen.plan.precision import Precision
from asmgen.plan.specs import GradientInParts, KernelSpec


class Draft:
    """Collects tensors and entries; one a program, the others beside the one that trains."""

    def __init__(self, model: Model, graph: Graph, layouts: Layouts, lanes: int, policy: Policy) -> None:
        self.model = model
        self.program = TRAIN
        self.graph = graph
        self.layouts = layouts
        self.lanes = lanes
        self.policy = policy
        self.precision = Precision.of(model.dtype)
        self.batch = model.batch_size
        self.tensors: dict[str, Tensor] = {}
        self.entries: list[Entry] = []
        #: What a tensor of this program is called among those of all programs.
        self.names: dict[str, str] = {}
        self.parameters: dict[str, LayerParameters] = {}
        self.buffers: dict[str, LayerBuffers] = {}
        self.convs: dict[str, ConvChoice] = {}
        self.partial: dict[str, GradientInParts] = {}
        #: What a convolution makes, with all that is fused, by label.
        self.results: dict[str, str] = {}
        #: The tensors that a tensor consists of.
        self.parts: dict[str, tuple[str, ...]] = {}
        #: How the weights of a dense layer lie, by label.
        self.dense_lanes: dict[str, DenseLanes] = {}
        #: What becomes the content of a tensor for the next step.
        self.updates: dict[str, str] = {}

    @property
    def dtype(self) -> str:
        """Of what the arena stores."""
        return self.precision.storage

    def beside(self, program: str, graph: Graph, layouts: Layouts) -> Draft:
        """The draft of another program over the same parameters. What it derives from them, all programs share."""
        other = Draft(self.model, graph, layouts, self.lanes, self.policy)
        other.program = program
        other.tensors, other.parameters, other.updates = self.tensors, self.parameters, self.updates
        other.dense_lanes, other.buffers = self.dense_lanes, self.buffers
        return other

    # tensors -------------------------------------------------------------------------------------------------------

    def add(self, name: str, layout: Layout, owned: bool = False) -> str:
        """A tensor of the arena: its name. What keeps zeros that no kernel writes owns its memory."""
        keeps_zeros = (isinstance(layout, Image) and (bool(layout.halo) or layout.block == 1)) or (
            isinstance(layout, Rows) and layout.source is None
        )
        return self._add(Tensor(name, layout.size_bytes, layout, owned or keeps_zeros))

    def raw(self, name: str, size_bytes: int, owned: bool = False) -> str:
        """A tensor without a layout: its name."""
        return self._add(Tensor(name, size_bytes, None, owned))

    def _add(self, tensor: Tensor) -> str:
        """What owns its memory serves all programs; what does not lives in one, and has its name."""
        name = tensor.name
        if self.program != TRAIN and self.tensors.get(name) != replace(tensor, owned=True):
            name = f"{self.program}.{name}"
        made = replace(tensor, name=name)
        if self.tensors.get(name, made) != made or (self.program == TRAIN and name in self.tensors):
            raise ValueError(f"two tensors are called {name}")
        self.names[tensor.name] = name
        self.tensors[name] = made
        return name

    def value(self, name: str) -> str:
        """The tensor of a value of the graph, made where there is none yet."""
        home = self.layouts.home(name)
        return self.names[home] if home in self.names else self.add(home, self.layouts.of(home))

    def over(self, name: str, old: str) -> str:
        """A new value in the memory of an old one, which is gone then."""
        own = name if self.program == TRAIN else f"{self.program}.{name}"
        if own in self.tensors:
            raise ValueError(f"two tensors are called {own}")
        self.names[name] = own
        self.tensors[own] = replace(self.tensors[old], name=own, home=self.tensors[old].home or old)
        return own

    def is_last_use(self, value: str, node: Node) -> bool:
        """Whether nothing behind a node reads a value, under its own name or as a view."""
        positions, last_reads = self._reads
        return last_reads.get(self.layouts.home(value), -1) <= positions[id(node)]

    @cached_property
    def _reads(self) -> tuple[dict[int, int], dict[str, int]]:
        """Where each node stands, by id; where a tensor is read for the last time: behind all nodes for a result."""
        home, nodes = self.layouts.home, self.graph.nodes
        last: dict[str, int] = {}
        for at, node in enumerate(nodes):
            if not self._is_view(node):
                last.update((home(name), at) for name in node.inputs)
        ends = (*self.graph.results, *self.graph.updates.values())
        return {id(node): at for at, node in enumerate(nodes)}, last | {home(name): len(nodes) for name in ends}

    def _is_view(self, node: Node) -> bool:
        """Whether a node has no entry: a Flatten that is no copy, and its gradient."""
        home = self.layouts.home
        return isinstance(node.op, Flatten | Unflatten) and home(node.inputs[0]) == home(node.outputs[0])

    def next(self, name: str) -> str:
        """The value that takes the tensor's place for the next step."""
        self.updates[name] = next_name(name)
        return self.over(self.updates[name], name)

    # layouts -------------------------------------------------------------------------------------------------------

    def image(self, shape: Shape, halo: Halo = NO_HALO) -> Image:
        c, h, w = shape
        return Image(self.batch, c, h, w, self.lanes, self.dtype, halo)

    def layout(self, name: str) -> Activations:
        """Of a tensor that there is, or of a value."""
        layout = self.tensors[name].layout if name in self.tensors else self.layouts.of(name)
        assert isinstance(layout, Image | Rows), name
        return layout

    def images(self, name: str) -> Image:
        layout = self.layout(name)
        assert isinstance(layout, Image), name
        return layout

    def as_rows(self, name: str) -> Rows:
        """The tensor seen as rows: itself, or the flattened view of an image."""
        layout = self.layout(name)
        if isinstance(layout, Rows):
            return layout
        return Rows(layout.n, layout.c * layout.h * layout.w, self.lanes, self.dtype, layout)

    # entries -------------------------------------------------------------------------------------------------------

    def entry(
        self,
        phase: str,
        spec: KernelSpec,
        args: tuple[str | None, ...],
        outputs: tuple[str, ...],
        label: str,
        also_reads: tuple[str, ...] = (),
    ) -> None:
        """Append an entry. Arguments that are not outputs are inputs; also_reads: what no argument of its own names."""
        read = (arg for arg in (*args, *also_reads) if arg and arg != "images" and arg not in outputs)
        phase = self.program if self.program != TRAIN and phase == "forward" else phase
        self.entries.append(Entry(phase, spec, args, label, tuple(dict.fromkeys(read)), outputs))
