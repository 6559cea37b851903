"""The GPU as a target of the planner."""

from __future__ import annotations

from dataclasses import dataclass

from asmgen.plan.layout import ELEMENT_BYTES, LINE_BYTES


@dataclass(frozen=True)
class CudaTarget:
    """CUDA source, whatever the GPU."""

    name: str = "cuda"
    vector_bytes: int = LINE_BYTES  # channels of a pixel that lie together: two sectors of global memory

    def lanes(self, dtype: str) -> int:
        """V, the channels of a block."""
        return self.vector_bytes // ELEMENT_BYTES[dtype]


CUDA = CudaTarget()
