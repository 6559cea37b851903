"""What a plan is written with: the tensors and entries so far, and the layouts they have."""

from __future__ import annotations

from asmgen.model.geometry import Shape
from asmgen.model.network import Model
from asmgen.plan import specs
from asmgen.plan.fuse import fuse
from asmgen.plan.layout import NO_HALO, Activations, Halo, Image, Rows
from asmgen.plan.plan import Entry, LayerParameters, Layout, Tensor
from asmgen.plan.policy import Policy
from asmgen.plan.specs import Conv, KernelSpec


class Draft:
    """Collects tensors and entries; one a plan."""

    def __init__(self, model: Model, lanes: int, policy: Policy) -> None:
        self.model = model
        self.lanes = lanes
        self.policy = policy
        self.dtype = model.dtype
        self.batch = model.batch_size
        self.groups = fuse(model)
        self.tensors: dict[str, Tensor] = {}
        self.entries: list[Entry] = []
        self.parameters: list[LayerParameters] = []
        self.convs: dict[int, Conv] = {}
        self.input = "x0"
        self.partial: dict[int, specs.ConvWeightGradient] = {}

    def add(self, name: str, layout: Layout, owned: bool = False) -> None:
        keeps_zeros = (isinstance(layout, Image) and (bool(layout.halo) or layout.block == 1)) or (
            isinstance(layout, Rows) and layout.source is None
        )
        self.tensors[name] = Tensor(name, layout.size_bytes, layout, owned or keeps_zeros)

    def raw(self, name: str, size_bytes: int, owned: bool = False) -> None:
        self.tensors[name] = Tensor(name, size_bytes, None, owned)

    def image(self, shape: Shape, halo: Halo = NO_HALO) -> Image:
        c, h, w = shape
        return Image(self.batch, c, h, w, self.lanes, self.dtype, halo)

    def rows(self, shape: Shape, source: Image | None = None) -> Rows:
        return Rows(self.batch, shape[0], self.lanes, self.dtype, source)

    def layout(self, name: str) -> Activations:
        layout = self.tensors[name].layout
        assert isinstance(layout, (Image, Rows))
        return layout

    def as_rows(self, name: str) -> Rows:
        """The tensor seen as rows: itself, or the flattened view of an image."""
        layout = self.layout(name)
        if isinstance(layout, Rows):
            return layout
        return Rows(layout.n, layout.c * layout.h * layout.w, self.lanes, self.dtype, layout)

    def images(self, name: str) -> Image:
        layout = self.layout(name)
        assert isinstance(layout, Image), name
        return layout

    def entry(
        self,
        phase: str,
        spec: KernelSpec,
        args: tuple[str | None, ...],
        outputs: tuple[str, ...],
        layer: str,
        text: str,
        in_place: tuple[str, ...] = (),
    ) -> None:
        """Append an entry; arguments that are not outputs are inputs, those of `in_place` are both."""
        read = (arg for arg in args if arg and arg != "images" and (arg not in outputs or arg in in_place))
        self.entries.append(Entry(phase, spec, args, layer, text, tuple(dict.fromkeys(read)), outputs))

    def without_halo(self, name: str) -> Activations:
        layout = self.layout(name)
        return self.image((layout.c, layout.h, layout.w)) if isinstance(layout, Image) else layout

    def parameters_of(self, number: int) -> LayerParameters:
        return next(parameters for parameters in self.parameters if parameters.group == number)
