"""Where the threads of a step must meet: a plan's entries as stages, with a barrier behind each.

Every thread runs its slice of every entry. It may go on to the next entry without waiting for the others unless that
entry touches what they write. Entries sliced by samples never wait for each other where the samples' pieces coincide:
a thread finds there only what it wrote itself, and runs through several layers between two barriers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from asmgen.plan.plan import EVALUATE, INFER, Entry

PHASES = ("forward", "backward", "update", "derive")  # of a training step, in execution order

#: tensor -> [begin, end) of its bytes in the arena
Spans = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Stage:
    """Entries of one phase that a thread runs without waiting: those with parts of the outputs, which are independent,
    then those sliced by samples, in order."""

    phase: str
    entries: tuple[Entry, ...]

    @property
    def by_samples(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.spec.slice_kind() == "samples")

    @property
    def by_outputs(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.spec.slice_kind() == "outputs")


@dataclass(frozen=True)
class Schedule:
    """All stages of a step, phase after phase."""

    stages: tuple[Stage, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(entry for stage in self.stages for entry in stage.entries)

    def phase(self, name: str) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stages if stage.phase == name)

    def check(self, spans: Spans) -> None:
        """Raise ValueError where two entries of one stage need a barrier between them."""
        for stage in self.stages:
            for earlier, later in combinations(stage.entries, 2):
                if barriers_between(earlier, later, spans):
                    raise ValueError(f"{earlier.layer}: {earlier.text} and {later.layer}: {later.text} share a stage")

    def __str__(self) -> str:
        lines = []
        for stage in self.stages:
            lines += [f"{stage.phase:<9} {e.spec.slice_kind():<8} {e.layer}: {e.text}" for e in stage.entries]
            lines.append("--- barrier")
        return "\n".join(lines)


def schedule(entries: Sequence[Entry], spans: Spans, *, reorder: bool = False) -> Schedule:
    """The stages of entries that were planned in this order.

    reorder: an entry belongs to the earliest stage that its predecessors allow, so that the gradients of many layers'
    weights share one: the fewest barriers. Otherwise it does not overtake a stage: what is written is read soon after.
    """
    found: list[Stage] = []
    for phase in (*PHASES, EVALUATE, INFER):
        mine = [entry for entry in entries if entry.phase == phase]
        numbers = _stage_numbers(mine, spans, reorder)
        stages: list[list[Entry]] = [[] for _ in range(max(numbers, default=-1) + 1)]
        for entry, number in zip(mine, numbers, strict=True):
            stages[number].append(entry)
        for members in stages:
            members.sort(key=lambda entry: entry.spec.slice_kind() == "samples")
            found.append(Stage(phase, tuple(members)))
    return Schedule(tuple(found))


def barriers_between(earlier: Entry, later: Entry, spans: Spans) -> int | None:
    """How many barriers `later` needs behind `earlier`: 1 where it touches what other threads write (or they what it
    writes), 0 where each thread meets only its own samples, None where the two are independent."""
    shared = [
        (spans[a], spans[b])
        for a, a_is_written in _touched(earlier)
        for b, b_is_written in _touched(later)
        if (a_is_written or b_is_written) and _overlap(spans[a], spans[b])
    ]
    if not shared:
        return None
    kinds = {earlier.spec.slice_kind(), later.spec.slice_kind()}
    same_slices = kinds == {"samples"} and earlier.spec.slice_units() == later.spec.slice_units()
    return 0 if same_slices and all(a == b for a, b in shared) else 1


def _stage_numbers(entries: Sequence[Entry], spans: Spans, reorder: bool) -> list[int]:
    """The earliest stage of each entry of one phase.

    Without reordering, an entry comes no earlier than the one before, so only entries of that one's stage can move it.
    With it, those can that touch memory where the entry does.
    """
    numbers: list[int] = []
    rooms = _rooms(spans) if reorder else {}
    visitors: dict[int, list[int]] = {}  # room -> positions of the entries that touched it
    first_of_last = 0
    for position, entry in enumerate(entries):
        mine = {rooms[name] for name, _ in _touched(entry)} if reorder else set()
        before = sorted({at for room in mine for at in visitors.get(room, ())})
        needed = [
            numbers[at] + barriers
            for at in (before if reorder else range(first_of_last, position))
            if (barriers := barriers_between(entries[at], entry, spans)) is not None
        ]
        number = max(needed + ([] if reorder else numbers[-1:]), default=0)
        if numbers and number != numbers[-1]:
            first_of_last = position
        numbers.append(number)
        for room in mine:
            visitors.setdefault(room, []).append(position)
    return numbers


def _rooms(spans: Spans) -> dict[str, int]:
    """The same number for tensors whose bytes overlap, or overlap what others of that number have."""
    found: dict[str, int] = {}
    room, room_end = -1, -1
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin >= room_end:
            room += 1
        room_end = max(room_end, end)
        found[name] = room
    return found


def _touched(entry: Entry) -> Iterator[tuple[str, bool]]:
    """(tensor, whether it is written), an input that is also an output once."""
    for name in dict.fromkeys((*entry.inputs, *entry.outputs)):
        yield name, name in entry.outputs


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]
