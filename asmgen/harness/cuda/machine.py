"""Runs the CUDA kernels of a Plan from Python, emulated: the launches of trainer.cu, over an arena in this process."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from asmgen.cuda.listing import CudaListing
from asmgen.cuda.target import CUDA
from asmgen.harness.cuda.library import load_library
from asmgen.harness.cuda.run import run_launch
from asmgen.harness.machine import PlanMemory
from asmgen.plan.layout import LINE_BYTES, round_up
from asmgen.plan.plan import Entry, Plan


class CudaMachine(PlanMemory):
    """The CUDA kernels of a plan. A kernel that breaks a rule of the emulation raises AssertionError."""

    target = CUDA.name

    def __init__(self, plan: Plan, listings: Mapping[str, CudaListing]) -> None:
        super().__init__(plan)
        self._listings = listings
        self._library, _ = load_library(list(listings.values()))
        size = max(listing.workspace_bytes for listing in listings.values())
        self._workspace = np.full(size + LINE_BYTES, 0xFF, np.uint8)
        self._seed = 0

    def execute(self, entry: Entry) -> None:
        """Run the launches of one entry, in an order of threads of their own."""
        addresses = {f"a{number}": self._pointer(name) for number, name in enumerate(entry.args)}
        addresses["workspace"] = round_up(self._workspace.ctypes.data, LINE_BYTES)
        for launch in self._listings[entry.spec.symbol(self.target)].launches:
            self._seed += 1
            _, broken = run_launch(self._library, launch, [addresses[name] for name in launch.args], self._seed)
            if broken:
                raise AssertionError(f"{launch.kernel}: {broken}")
