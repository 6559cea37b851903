"""What `asmgen tune` measured to be fastest: choices that differ from the cost model's, and the file that keeps them.

The file is one JSON object. It names kernels by their stems and tiles by the text that headers and `asmgen show` print,
so that a choice is looked up among the candidates and never built from numbers that somebody wrote:

    {"model": NAME, "levels": {ISA: {"cpu": NAME, "algorithms": {KEY: {"choice": TEXT, "gain": 1.2}},
                                                  "tiles": {STEM: {"choice": TEXT, "gain": 1.1}}}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asmgen.asm.isa import ISAS, Isa
from asmgen.errors import UsageError
from asmgen.plan import specs
from asmgen.plan.plan import Plan
from asmgen.plan.specs import Conv, KernelSpec, dtype_tag
from asmgen.plan.winograd import SIZES
from asmgen.tile.candidates import candidates
from asmgen.tile.winograd.conv2d_winograd import algorithms

ALGORITHMS: dict[int | None, str] = {None: "direct", **{m: f"winograd F({m}x{m})" for m in SIZES}}
_HELP = "run `asmgen tune` again, or build with --no-tune"
_RENEW = "delete it, or name another file with -o"


@dataclass(frozen=True)
class Choice:
    """A choice as text, and how many times faster it was than the cost model's."""

    choice: str
    gain: float


@dataclass(frozen=True)
class Tuning:
    """The choices for one ISA. file: their file's name; empty where there is none and the cost model decides alone."""

    file: str = ""
    cpu: str = ""
    algorithms: Mapping[str, Choice] = field(default_factory=dict)
    tiles: Mapping[str, Choice] = field(default_factory=dict)

    def algorithm(self, conv: Conv, isa: Isa, sizes: tuple[int, ...], *, backward: bool) -> int | None:
        """Of a convolution: m of F(m x m, 3 x 3), or None: direct. Raises UsageError where the file's cannot be."""
        legal = algorithms(conv, isa, sizes, backward=backward)
        entry = self.algorithms.get(algorithm_key(conv, backward=backward))
        if entry is None:
            return legal[0].tile
        by_text = {ALGORITHMS[candidate.tile]: candidate.tile for candidate in legal}
        if entry.choice not in by_text:
            what = f"{algorithm_key(conv, backward=backward)}: {entry.choice!r}"
            raise UsageError(f"{self.file}: {what} is none of {', '.join(by_text)}; {_HELP}")
        return by_text[entry.choice]

    def tile(self, spec: KernelSpec, isa: Isa) -> Any:
        """The file's tile of a kernel; None: it names none. Raises UsageError where the kernel cannot have it."""
        entry = self.tiles.get(spec.stem())
        if entry is None:
            return None
        for candidate in candidates(spec, isa):
            if str(candidate.tile) == entry.choice:
                return candidate.tile
        raise UsageError(f"{self.file}: {spec.stem()} cannot have the tile {entry.choice!r} on {isa.name}; {_HELP}")

    def notes(self, spec: KernelSpec) -> tuple[str, ...]:
        """What the header of a kernel says of the file."""
        key = algorithm_of(spec)
        notes = [f"algorithm from {self.file}"] if key in self.algorithms else []
        return (*notes, *([f"tile from {self.file}"] if spec.stem() in self.tiles else []))

    def unused(self, plan: Plan) -> list[str]:
        """The entries that no kernel of the plan answers to: other settings of the model have other shapes."""
        known = {spec.stem() for spec in plan.specs()} | {algorithm_of(spec) for spec in plan.specs()}
        return [name for name in (*self.algorithms, *self.tiles) if name not in known]

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "file": self.file,
            "cpu": self.cpu,
            "algorithms": {key: entry.choice for key, entry in self.algorithms.items()},
            "tiles": {stem: entry.choice for stem, entry in self.tiles.items()},
        }


UNTUNED = Tuning()


def algorithm_key(conv: Conv, *, backward: bool) -> str:
    """The name of a convolution's direction, whatever computes it: `conv3_fwd_n16c32h64w64p1_k64_f32`."""
    return f"{conv.tag('conv2d_dx' if backward else 'conv2d_fwd')}_{dtype_tag(conv.x.dtype)}"


def algorithm_of(spec: KernelSpec) -> str | None:
    """The key of the choice that this kernel follows from; None for kernels that no algorithm was chosen for."""
    match spec:
        case specs.Conv2dForward(conv=conv) | specs.Conv2dForwardWinograd(conv=conv):
            return algorithm_key(conv, backward=False)
        case specs.Conv2dBackwardInput(conv=conv) | specs.Conv2dBackwardInputWinograd(conv=conv):
            return algorithm_key(conv, backward=True)
    return None


def read_tuning(path: Path, model_name: str, isa: Isa) -> Tuning:
    """The choices of a file for one ISA; UNTUNED's where it has none. Raises UsageError where it is no such file."""
    level = _levels(path, model_name).get(isa.name)
    if level is None:
        return UNTUNED
    return Tuning(path.name, level["cpu"], *(_choices(level[kind]) for kind in ("algorithms", "tiles")))


def tuning_text(path: Path, model_name: str, isa: Isa, tuning: Tuning) -> str:
    """The file with the choices of one ISA anew; those of other ISAs stay as they are. Sorted, without dates."""
    levels = kept_levels(path, model_name)
    levels[isa.name] = {
        "cpu": tuning.cpu,
        **{
            kind: {name: {"choice": entry.choice, "gain": round(entry.gain, 3)} for name, entry in choices.items()}
            for kind, choices in (("algorithms", tuning.algorithms), ("tiles", tuning.tiles))
        },
    }
    return json.dumps({"model": model_name, "levels": levels}, indent=1, sort_keys=True) + "\n"


def kept_levels(path: Path, model_name: str) -> dict[str, Any]:
    """The levels that a new file takes over from the one at `path`. Raises UsageError where that is no tune file."""
    return _levels(path, model_name, _RENEW) if path.exists() else {}


def _choices(entries: dict[str, dict[str, Any]]) -> dict[str, Choice]:
    return {name: Choice(entry["choice"], float(entry["gain"])) for name, entry in sorted(entries.items())}


def _levels(path: Path, model_name: str, remedy: str = _HELP) -> dict[str, Any]:
    """The checked levels of a file; remedy: what an error tells to do."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the tune file: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: no tune file: {error}; {remedy}") from None
    if wrong := _problem(content):
        raise UsageError(f"{path}: no tune file: {wrong}; {remedy}")
    if content["model"] != model_name:
        raise UsageError(f"{path}: tuned for the model {content['model']!r}, not for {model_name!r}; {remedy}")
    return dict(content["levels"])


def _problem(content: Any) -> str | None:
    """What keeps a JSON value from being a tune file; None: it is one."""
    if not isinstance(content, dict) or set(content) != {"model", "levels"} or not isinstance(content["levels"], dict):
        return "it must have `model` and `levels`"
    for name, level in content["levels"].items():
        if name not in ISAS:
            return f"level {name!r} is none of {', '.join(ISAS)}"
        if not isinstance(level, dict) or set(level) != {"cpu", "algorithms", "tiles"}:
            return f"{name} must have `cpu`, `algorithms` and `tiles`"
        for kind in ("algorithms", "tiles"):
            for kernel, entry in level[kind].items() if isinstance(level[kind], dict) else [(kind, None)]:
                if not isinstance(entry, dict) or set(entry) != {"choice", "gain"}:
                    return f"{name}, {kernel}: it must have `choice` and `gain`"
                if not isinstance(entry["choice"], str) or not isinstance(entry["gain"], (int, float)):
                    return f"{name}, {kernel}: `choice` must be a text and `gain` a number"
    return None
