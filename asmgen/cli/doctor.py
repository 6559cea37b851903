"""`asmgen doctor`: what works on this machine, what does not, and the commands that change it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from asmgen.toolchain import cpu
from asmgen.toolchain.tools import TOOLS, Tool
from asmgen.version import __version__


@dataclass(frozen=True)
class Finding:
    """A tool and its version, None where it is not installed."""

    tool: Tool
    version: str | None

    @property
    def breaks_building(self) -> bool:
        return self.version is None and self.tool.needed_to_build


@dataclass(frozen=True)
class Diagnosis:
    """All that the doctor says, ready to be printed in either form."""

    cpu_model: str
    features: frozenset[str]
    affinity_cores: int
    quota_cores: float | None
    findings: tuple[Finding, ...]

    @property
    def can_build(self) -> bool:
        return not any(finding.breaks_building for finding in self.findings)

    @property
    def missing_by_isa(self) -> dict[str, list[str]]:
        return {isa: cpu.missing_features(isa, self.features) for isa in cpu.FEATURES}


def diagnose() -> Diagnosis:
    """What this machine has, found by running every tool."""
    return Diagnosis(
        cpu_model=cpu.cpu_model(),
        features=cpu.cpu_features(),
        affinity_cores=cpu.affinity_cores(),
        quota_cores=cpu.quota_cores(),
        findings=tuple(Finding(tool, tool.find()) for tool in TOOLS),
    )


def as_json(found: Diagnosis) -> dict[str, Any]:
    return {
        "asmgen": __version__,
        "can_build": found.can_build,
        "cpu": {"model": found.cpu_model, "features": sorted(found.features)},
        "cores": {"affinity": found.affinity_cores, "quota": found.quota_cores},
        "isa": {isa: {"works": not lacks, "missing": lacks} for isa, lacks in found.missing_by_isa.items()},
        "tools": {
            finding.tool.name: {
                "version": finding.version,
                "needed_to_build": finding.tool.needed_to_build,
                "without": finding.tool.without,
                "install": finding.tool.install,
            }
            for finding in found.findings
        },
    }


def as_text(found: Diagnosis) -> str:
    quota = "no cgroup quota" if found.quota_cores is None else f"cgroup quota {found.quota_cores:g}"
    lines = [f"asmgen {__version__}", f"cpu    {found.cpu_model}", f"cores  {found.affinity_cores} ({quota})", "isa"]
    for isa, lacks in found.missing_by_isa.items():
        lines.append(f"  {isa:<12} {'works' if not lacks else 'does not run here: the CPU lacks ' + ', '.join(lacks)}")
    lines.append("tools")
    for finding in found.findings:
        if finding.version is not None:
            lines.append(f"  {finding.tool.name:<12} {finding.version}")
    missing = [finding.tool for finding in found.findings if finding.version is None]
    lines += ["missing"] if missing else []
    for tool in missing:
        lines += [f"  {tool.name:<12} {tool.without}", f"  {'':<12} install it: {tool.install}"]
    lines.append("asmgen can build here." if found.can_build else "asmgen cannot build here yet: see `missing`.")
    return "\n".join(lines)


@click.command()
@click.option("--json", "json_output", is_flag=True, help="Print JSON, for scripts.")
@click.option("--best-isa", is_flag=True, help="Print only the level that `--isa native` means here.")
@click.pass_context
def doctor(ctx: click.Context, json_output: bool, best_isa: bool) -> None:
    """Tell what works on this machine, what each missing thing costs, and the command that installs it.

    Exit code 0 if `asmgen build` can work here, 1 if not.
    """
    if best_isa:
        click.echo(cpu.best_isa())
        return
    found = diagnose()
    click.echo(json.dumps(as_json(found), indent=2) if json_output else as_text(found))
    ctx.exit(0 if found.can_build else 1)
