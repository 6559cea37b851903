"""The ASMGEN_DEBUG ladder: each level prints what the one below does, and more, on stderr.

1 the plan; 2 every kernel's tile, registers, FLOPs and predicted bound; 3 the memory map; 4 the assembly; 5 NASM's
listing with the bytes.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import click

from asmgen.asm.listing import Listing
from asmgen.emit.cuda import GeneratedCuda
from asmgen.emit.generate import Generated
from asmgen.plan.specs import KernelSpec
from asmgen.tile.candidates import predicted_cycles
from asmgen.toolchain.tools import find_program


def print_generated(generated: Generated, level: int) -> None:
    """Print what `level` asks for."""
    if level >= 1:
        click.echo(f"{generated.plan}\n", err=True)
    if level >= 2:
        for spec in generated.plan.specs():
            click.echo(_summary(spec, generated), err=True)
    if level >= 3:
        click.echo(f"\n{generated.plan.memory()}\n", err=True)
    if level >= 4:
        for listing in generated.listings.values():
            click.echo(_nasm_listing(listing) if level >= 5 else listing.text(), err=True)


def print_cuda(generated: GeneratedCuda, level: int) -> None:
    """The same for a CUDA trainer; its levels 4 and 5 are one."""
    if level >= 1:
        click.echo(f"{generated.plan}\n", err=True)
    if level >= 2:
        for listing in generated.listings.values():
            facts = listing.facts
            click.echo(f"{listing.symbol}: {facts.tile}; {facts.flops / 1e6:.2f} MFLOP", err=True)
    if level >= 3:
        click.echo(f"\n{generated.plan.memory()}\n", err=True)
    if level >= 4:
        for listing in generated.listings.values():
            click.echo(listing.text, err=True)


def _summary(spec: KernelSpec, generated: Generated) -> str:
    listing = generated.listings[spec.symbol(generated.isa.name)]
    facts, cycles = listing.facts, predicted_cycles(spec, generated.isa, listing)
    return (
        f"{listing.symbol}: {facts.tile}; {len(listing.vector_registers)} vector registers, "
        f"{facts.flops / 1e6:.2f} MFLOP, {listing.n_instructions} instructions, {cycles / 1e3:.1f} kcycles predicted"
    )


def _nasm_listing(listing: Listing) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "kernel.asm", Path(folder) / "kernel.lst"
        source.write_text(listing.text())
        command = [
            find_program("nasm"),
            "-f",
            "elf64",
            "-l",
            str(out),
            "-o",
            str(source.with_suffix(".o")),
            str(source),
        ]
        subprocess.run(command, check=True)
        return out.read_text()
