"""The committed showcase is what the generator writes, byte for byte."""

from __future__ import annotations

from pathlib import Path

from asmgen.asm.isa import ISAS
from asmgen.emit.generate import generate
from asmgen.model.load import load_model

SHOWCASE = Path("generated/showcase/mnist_sigmoid/avx512")


def test_showcase_is_current(tmp_path: Path) -> None:
    generate(load_model("models/mnist_sigmoid.py"), ISAS["avx512"], tmp_path)
    fresh = tmp_path / "mnist_sigmoid" / "avx512"
    expected = {path.name: path.read_bytes() for path in fresh.iterdir()}
    committed = {path.name: path.read_bytes() for path in SHOWCASE.iterdir()}
    assert committed.keys() == expected.keys(), "run `make showcase` and look at the difference"
    changed = [name for name in expected if committed[name] != expected[name]]
    assert not changed, f"{changed} changed: run `make showcase` and look at the difference"
