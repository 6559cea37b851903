"""What a plan is written with: the graph, layouts and choices of kernels, the tensors and entries so far."""

from __future__ import annotations

from dataclasses import replace

from asmgen.graph.graph import Graph
from asmgen.model.network import Model
from asmgen.ops.base import Shape
from asmgen.plan.choice import ConvChoice
from asmgen.plan.lay_out import Layouts
from asmgen.plan.layout import NO_HALO, Activations, Halo, Image, Rows
from asmgen.plan.plan import Entry, LayerParameters, Layout, Tensor, next_value
from asmgen.plan.policy import Policy
from asmgen.plan.specs import ConvWeightGradient, KernelSpec


class Draft:
    """Collects tensors and entries; one a plan."""

    def __init__(self, model: Model, graph: Graph, layouts: Layouts, lanes: int, policy: Policy) -> None:
        self.model = model
        self.graph = graph
        self.layouts = layouts
        self.lanes = lanes
        self.policy = policy
        self.dtype = model.dtype
        self.batch = model.batch_size
        self.tensors: dict[str, Tensor] = {}
        self.entries: list[Entry] = []
        self.parameters: dict[str, LayerParameters] = {}
        self.convs: dict[str, ConvChoice] = {}
        self.partial: dict[str, ConvWeightGradient] = {}
        #: What a convolution makes, with all that is fused, by label.
        self.results: dict[str, str] = {}
        #: The tensors that a tensor consists of.
        self.parts: dict[str, tuple[str, ...]] = {}
        #: What becomes the content of a tensor for the next step.
        self.updates: dict[str, str] = {}

    # tensors -------------------------------------------------------------------------------------------------------

    def add(self, name: str, layout: Layout, owned: bool = False) -> str:
        """A tensor of the arena, by name. What keeps zeros that no kernel writes owns its memory."""
        keeps_zeros = (isinstance(layout, Image) and (bool(layout.halo) or layout.block == 1)) or (
            isinstance(layout, Rows) and layout.source is None
        )
        self.tensors[name] = Tensor(name, layout.size_bytes, layout, owned or keeps_zeros)
        return name

    def raw(self, name: str, size_bytes: int, owned: bool = False) -> str:
        """A tensor without a layout."""
        self.tensors[name] = Tensor(name, size_bytes, None, owned)
        return name

    def value(self, name: str) -> str:
        """The tensor of a value of the graph, made where there is none yet."""
        home = self.layouts.home(name)
        return home if home in self.tensors else self.add(home, self.layouts.of(home))

    def over(self, name: str, old: str) -> str:
        """A new value in the memory of an old one, which is gone then."""
        self.tensors[name] = replace(self.tensors[old], name=name, home=self.tensors[old].home or old)
        return name

    def next(self, name: str) -> str:
        """The value that takes the tensor's place for the next step."""
        self.updates[name] = next_value(name)
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
        text: str,
        also_reads: tuple[str, ...] = (),
    ) -> None:
        """Append an entry. Arguments that are not outputs are inputs; also_reads: what no argument of its own names."""
        read = (arg for arg in (*args, *also_reads) if arg and arg != "images" and arg not in outputs)
        self.entries.append(Entry(phase, spec, args, label, text, tuple(dict.fromkeys(read)), outputs))
