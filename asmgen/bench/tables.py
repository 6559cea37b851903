"""Tables of text and of Markdown: the same cells, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asmgen.bench.suite import WORKS

Result = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Cells as text; `left` columns are words, the others numbers. Lines of `notes` follow."""

    title: str
    columns: tuple[str, ...]
    left: int
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Aligned columns."""
        grid = [self.columns, *self.rows]
        widths = [max(len(row[at]) for row in grid) for at in range(len(self.columns))]
        lines = [self.title]
        for row in grid:
            cells = (f"{row[at]:{'<' if at < self.left else '>'}{width}}" for at, width in enumerate(widths))
            lines.append(("  " + "  ".join(cells)).rstrip())
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def markdown(self) -> str:
        """A table under a heading."""
        rule = ["---" if at < self.left else "--:" for at in range(len(self.columns))]
        lines = [f"### {self.title}", "", *(f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows))]
        lines += ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(line.replace("*", "\\*") for line in lines)


def tables(result: Result) -> list[Table]:
    """Of one result of `asmgen bench --json`: a table for each kind of work, and one for each level's kernels."""
    works = [work for work in WORKS if any(row["work"] == work for row in result["rows"])]
    found = [_work_table(result, work) for work in works]
    return found + [_kernel_table(result, kernels) for kernels in result.get("kernels", [])]


def _work_table(result: Result, work: str) -> Table:
    model = result["model"]
    batch = 1 if work == "latency" else model["batch"]
    rows: list[tuple[str, ...]] = [
        (
            row["name"],
            _mark(row),
            str(row["threads"]),
            duration(row["seconds"]),
            duration(row["seconds"] / batch),
            _ratio(row["slower"], row["least"], row["largest"]) if not row["is_reference"] else "1",
        )
        for row in result["rows"]
        if row["work"] == work
    ]
    notes = [
        f"{scaling['name']}: {scaling['threads']} threads are "
        f"{_ratio(scaling['faster'], scaling['least'], scaling['largest'])} times as fast as {scaling['fewest']}"
        for scaling in result["scaling"]
        if scaling["work"] == work and scaling["name"].startswith("asmgen")
    ]
    notes += _single_threaded(result, work) + _missing_levels(result)
    title = f"{model['name']}, {model['dtype']}, batch {batch}: {WORKS[work]}"
    if work == "loops":
        title += f" ({model['heaviest']})"
    return Table(title, ("who", "", "threads", "time", "per sample", "asmgen is faster by"), 2, rows, tuple(notes))


def _mark(row: dict[str, Any]) -> str:
    if row["is_reference"]:
        return "reference"
    return "best peer" if row["is_best_peer"] else ""


def _single_threaded(result: Result, work: str) -> list[str]:
    """Who has one thread where asmgen has more."""
    rows = [row for row in result["rows"] if row["work"] == work]
    fewest = min(row["threads"] for row in rows if row["is_reference"])
    return [f"{row['name']}: 1 thread, beside asmgen with {fewest}" for row in rows if row["threads"] < fewest]


def _missing_levels(result: Result, instead: str | None = None) -> list[str]:
    """The levels that the CPU lacks and who stands in their place; instead: only those in whose place this one does."""
    return [
        f"{level['isa']} is not measured: this CPU lacks {', '.join(level['lacks'])}; "
        f"the figures of {level['instead']} stand in its place"
        for level in result.get("missing_levels", [])
        if instead in (None, level["instead"])
    ]


def _kernel_table(result: Result, kernels: Result) -> Table:
    title = (
        f"Kernels, {kernels['isa']}, 1 thread: FMA loop {kernels['peak_gflops']:.1f} GFLOP/s, "
        f"core at {kernels['core_ghz']:.2f} GHz"
    )
    rows = [line for row in kernels["rows"] for line in _kernel_lines(row)]
    columns = "layer", "op", "time", "kcycles", "predicted", "GFLOP/s", "of peak", "GB/s"
    notes = ["* counts the operations of the direct kernel, which stands below it"] if _has_effective(kernels) else []
    return Table(title, columns, 2, rows, (*notes, *_missing_levels(result, kernels["isa"])))


def _has_effective(kernels: Result) -> bool:
    return any(row["is_effective"] for row in kernels["rows"])


def _kernel_lines(row: dict[str, Any]) -> list[tuple[str, ...]]:
    star = "*" if row["is_effective"] else ""
    computes = row["gflops"] > 0
    times = f" ({row['calls']} calls)" if row["calls"] > 1 else ""
    lines: list[tuple[str, ...]] = [
        (
            row["layers"],
            row["op"] + times,
            duration(row["seconds"]),
            f"{row['cycles'] / 1e3:.1f}",
            f"{row['predicted_cycles'] / 1e3:.1f}",
            f"{row['gflops']:.1f}{star}" if computes else "",
            f"{row['peak_share']:.1%}{star}" if computes else "",
            f"{row['gbytes_per_second']:.1f}",
        )
    ]
    if direct := row["direct"]:
        rate = f"{direct['gflops']:.1f}", f"{direct['peak_share']:.1%}"
        lines.append(("", "  direct", duration(direct["seconds"]), "", "", *rate, ""))
    return lines


def _ratio(middle: float, least: float, largest: float) -> str:
    return f"{number(middle)} ({number(least)}-{number(largest)})"


def number(value: float) -> str:
    """Three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds * 1e9)} ns"
