"""The README's excerpt of a kernel is what the generator writes today, and what transcripts say of it is so."""

from __future__ import annotations

import re
from pathlib import Path

from asmgen.asm.isa import ISAS
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.model.load import load_model

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_excerpt_is_generated_text() -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"asmgen show models/catdog\.py (\w+)`.*?```nasm\n(.*?)```", readme, re.DOTALL)
    assert found
    part, excerpt = found.groups()
    isa = ISAS["avx512"]
    plan = plan_for(load_model(ROOT / "models" / "catdog.py"), isa)
    listings = emit_plan(plan, isa)
    (text,) = (listing.text() for symbol, listing in listings.items() if part in symbol)
    for passage in excerpt.split("...\n"):
        assert passage in text
    assert f"holds {len(listings)} kernels" in readme
    arena = f"arena {plan.arena_bytes / 1e6:.1f} MB"
    assert f"catdog for avx512: {len(listings)} kernels, {arena}" in readme
    for transcript in (readme, (ROOT / "docs" / "runtime.md").read_text()):
        assert re.findall(r"catdog  .*  (arena [\d.]+ MB)", transcript) == [arena]
