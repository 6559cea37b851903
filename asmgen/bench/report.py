"""Results of `asmgen bench --json` as one Markdown document: python -m asmgen.bench.report FILE.json ..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from asmgen.bench.tables import Result, tables
from asmgen.errors import UsageError

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; how to read it: [performance.md](performance.md). Machines are shared and drift: only numbers
of one table belong together, and its ratios are better than its times.
"""


def report(results: list[Result]) -> str:
    """The document. Raises UsageError where the results are of different machines or programs."""
    first = results[0]
    for result in results[1:]:
        for what in ("machine", "versions"):
            if result[what] != first[what]:
                raise UsageError(f"{result['model']['name']}: {what} {result[what]} differ from {first[what]}")
    sections = [_INTRODUCTION, _surroundings(first)]
    for result in results:
        model = result["model"]
        sections.append(
            f"## {model['name']}, {model['dtype']}, {model['optimizer']}, batch {model['batch']}\n\n"
            f"    {result['command']}\n\n"
            f"{model['step_macs'] / 1e6:,.1f} million multiply-adds a training step, as direct algorithms count them.\n"
        )
        sections += [f"{table.markdown()}\n" for table in tables(result)]
    return "\n".join(sections)


def _surroundings(result: Result) -> str:
    machine, versions = result["machine"], result["versions"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    quota = f" (CPU quota {machine['cpu_quota']:g})" if "cpu_quota" in machine else ""
    lines = [
        f"- CPU: {machine['cpu']}; {machine['cores']} cores{quota}; {', '.join(machine['features'])}",
        f"- caches of a core: {caches or 'unknown'}",
        f"- {', '.join(f'{name} {version}' for name, version in versions.items())}",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Print the document of the files on the command line."""
    print(report([json.loads(Path(name).read_text()) for name in sys.argv[1:]]), end="")


if __name__ == "__main__":
    main()
