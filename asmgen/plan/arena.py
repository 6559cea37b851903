"""Places tensors in one arena: owned ones side by side, the others reusing memory by the interval they live in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from asmgen.plan.layout import LINE_BYTES, round_up
from asmgen.plan.plan import Tensor
from asmgen.plan.schedule import Spans, Stage


@dataclass(frozen=True)
class Block:
    """Tensors lying one after the other, and `gap_bytes` free behind them.

    Its name is that of a tensor where kernels work on all of it at once (parameters whose gradients are stored, and
    their gradients).
    """

    name: str
    parts: tuple[Tensor, ...]
    gap_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Of the parts."""
        return sum(round_up(part.size_bytes, LINE_BYTES) for part in self.parts)


def place(tensors: Sequence[Tensor], blocks: Sequence[Block], stages: Sequence[Stage]) -> tuple[dict[str, int], int]:
    """Offsets of all tensors, block and part alike, and the size of the arena, in bytes.

    Shared tensors are placed largest first at the lowest offset that is free while they live (from the stage that
    first writes them to the last that touches them): Pisarchyk and Lee 2020, "greedy by size".
    """
    offsets: dict[str, int] = {}
    homes = [tensor for tensor in tensors if tensor.home is None]
    top = 0
    for block in blocks:
        offsets[block.name] = top
        for part in block.parts:
            offsets[part.name] = top
            top += round_up(part.size_bytes, LINE_BYTES)
        top += block.gap_bytes
    for tensor in homes:
        if tensor.owned and tensor.name not in offsets:
            offsets[tensor.name] = top
            top += round_up(tensor.size_bytes, LINE_BYTES)
    shared = [tensor for tensor in homes if tensor.name not in offsets]
    lives = _lifetimes(tensors, stages)
    placed: list[Tensor] = []
    arena_bytes = top
    for tensor in sorted(shared, key=lambda tensor: -tensor.size_bytes):
        begin, end = lives[tensor.name]
        neighbours = sorted(
            (offsets[other.name], offsets[other.name] + round_up(other.size_bytes, LINE_BYTES))
            for other in placed
            if lives[other.name][0] <= end and begin <= lives[other.name][1]
        )
        at = top
        for low, high in neighbours:
            if at + tensor.size_bytes <= low:
                break
            at = max(at, high)
        offsets[tensor.name] = at
        placed.append(tensor)
        arena_bytes = max(arena_bytes, at + round_up(tensor.size_bytes, LINE_BYTES))
    offsets.update({tensor.name: offsets[tensor.home] for tensor in tensors if tensor.home})
    return offsets, arena_bytes


def spans_apart(tensors: Sequence[Tensor], blocks: Sequence[Block]) -> Spans:
    """The bytes of every tensor where none shares memory: what stages are planned with before lifetimes are known."""
    offsets, _ = place([replace(tensor, owned=True) for tensor in tensors], blocks, ())
    return {tensor.name: (offsets[tensor.name], offsets[tensor.name] + tensor.size_bytes) for tensor in tensors}


def _lifetimes(tensors: Sequence[Tensor], stages: Sequence[Stage]) -> dict[str, tuple[int, int]]:
    """First and last stage that touches the memory of each tensor: within one, threads are at different entries."""
    homes = {tensor.name: tensor.home or tensor.name for tensor in tensors}
    lives: dict[str, tuple[int, int]] = {}
    for position, stage in enumerate(stages):
        for name in (homes[name] for entry in stage.entries for name in (*entry.inputs, *entry.outputs)):
            lives[name] = (lives.get(name, (position, position))[0], position)
    return lives
