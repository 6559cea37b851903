"""Runs a Plan's kernels from Python: the same calls as trainer.asm, over an arena in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from asmgen.asm.isa import Isa
from asmgen.asm.listing import Listing
from asmgen.harness.call import call
from asmgen.harness.library import address, load_library
from asmgen.plan.layout import LINE_BYTES, Image, NormTable, Rows, round_up
from asmgen.plan.plan import Entry, Plan
from asmgen.plan.specs import Loss
from asmgen.reference.interpret import parameter_arrays

Array = np.ndarray[Any, Any]


class PlanMemory:
    """An arena with the tensors of a plan; a subclass executes entries over it. target: the end of kernels' symbols."""

    target: str

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dtype = np.dtype(plan.dtype)
        self._memory = np.zeros(plan.arena_bytes + LINE_BYTES, np.uint8)
        self._base = round_up(self._memory.ctypes.data, LINE_BYTES)
        self._images = np.zeros(1, np.uint8)
        self.seed, self.n_steps = 0, 0  # what a dropout's mask is drawn from

    # memory --------------------------------------------------------------------------------------------------------

    def bytes(self, name: str) -> Array:
        """The bytes of a tensor, as a view."""
        begin = self._base - self._memory.ctypes.data + self.plan.offsets[name]
        return self._memory[begin : begin + self.plan.tensor(name).size_bytes]

    def flat(self, name: str) -> Array:
        """The elements of a tensor in memory order, as a view."""
        return self.bytes(name).view(self.dtype)

    def read(self, name: str) -> Any:
        """A tensor's logical value: an array; (weight, bias) of a parameter block, (mean, var, count) of buffers."""
        layout = self.plan.tensor(name).layout
        assert layout is not None, name
        assert not isinstance(layout, NormTable), name
        return layout.unpack(self.flat(name))

    def write(self, name: str, value: Any) -> None:
        """Set a tensor from its logical value, padding zero."""
        layout = self.plan.tensor(name).layout
        assert layout is not None, name
        self.flat(name)[:] = layout.pack(value) if isinstance(layout, (Image, Rows)) else layout.pack(*value)

    def set_parameters(self, parameters: Mapping[str, Array]) -> None:
        """Canonical arrays by name into the packed blocks; also derives the copies for the input gradient.

        Buffers that are not among them start as their layers say.
        """
        for block in self.plan.parameters:
            self.write(block.name, parameter_arrays(block, parameters))
        for kept in self.plan.buffers:
            self.write(
                kept.name, [parameters.get(each.name, np.full(each.shape, each.initial)) for each in kept.buffers]
            )
        self.run("derive")

    def parameters(self) -> dict[str, Array]:
        """Canonical arrays by name."""
        found: dict[str, Array] = {}
        for block in self.plan.parameters:
            for parameter, value in zip((block.weight, block.bias), self.read(block.name), strict=True):
                if parameter is not None:
                    found[parameter.name] = value
        return found

    def buffers(self) -> dict[str, Array]:
        """Canonical buffers by name."""
        return {
            each.name: value
            for kept in self.plan.buffers
            for each, value in zip(kept.buffers, self.read(kept.name), strict=True)
        }

    def poison(self) -> None:
        """Fill the memory that tensors share with NaN bits: what a kernel reads there, another must have written."""
        owned = [tensor for tensor in self.plan.tensors if tensor.owned]
        shared = max(self.plan.offsets[tensor.name] + tensor.size_bytes for tensor in owned)
        begin = self._base - self._memory.ctypes.data + round_up(shared, LINE_BYTES)
        self._memory[begin:] = 0xFF

    # steps ---------------------------------------------------------------------------------------------------------

    def begin_step(self, images: Array, indices: Array, labels: Array, present: int, hyper: tuple[float, ...]) -> None:
        """Set what the runtime sets before a step. images: the u8 data set [count, c, h, w]."""
        self._images = np.ascontiguousarray(images)
        self.bytes("indices").view(np.uint32)[:] = indices
        self.bytes("pixels").view(np.uint64)[:] = self._pointer("images") + np.asarray(indices) * self._images[0].nbytes
        self.bytes("labels").view(np.uint32)[:] = labels
        self.flat("hyper")[:] = hyper
        block = self.bytes("loss")
        block[: self.dtype.itemsize].view(self.dtype)[0] = 1 / present
        block[8:12].view(np.uint32)[0] = present
        block[16:32].view(np.uint64)[:] = self.seed, self.n_steps
        self.n_steps += 1

    def losses(self) -> tuple[Array, Array]:
        """(losses, predictions) of the last forward pass."""
        spec = next(entry.spec for entry in self.plan.entries if isinstance(entry.spec, Loss))
        batch, block = self.plan.batch, self.bytes("loss")
        losses = block[spec.losses_offset_bytes :][: self.dtype.itemsize * batch].view(self.dtype)
        return losses.copy(), block[spec.preds_offset_bytes :][: 4 * batch].view(np.uint32).copy()

    def run(self, *phases: str) -> None:
        """Execute the entries of these phases, phase after phase as they are named."""
        for phase in phases:
            for entry in self.plan.phase(phase):
                self.execute(entry)

    def execute(self, entry: Entry) -> None:
        """Do what one entry says."""
        raise NotImplementedError

    def _pointer(self, name: str | None) -> int:
        if name is None:
            return 0
        if name == "images":
            return int(ctypes.c_void_p(self._images.ctypes.data).value or 0)
        return self._base + self.plan.offsets[name]


class Machine(PlanMemory):
    """The kernels of an ISA. Each call is supervised; a broken rule of the ABI raises AssertionError."""

    def __init__(self, plan: Plan, isa: Isa, listings: Mapping[str, Listing]) -> None:
        super().__init__(plan)
        self.isa = isa
        self.target = isa.name
        self._library = load_library([listing.text() for listing in listings.values()])

    def execute(self, entry: Entry) -> None:
        """Call the kernel of one entry over its whole slice."""
        pointers = [self._pointer(name) for name in entry.args]
        symbol = entry.spec.symbol(self.target)
        broken = call(address(self._library, symbol), pointers, 0, entry.spec.slice_units(), self.target)
        if broken:
            raise AssertionError(f"{symbol}: {'; '.join(broken)}")
