"""Generated folders: the same bytes wherever they are written, and nothing left of an earlier build."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from asmgen import SGD, Dataset, Dense, Flatten, FromFile, Model, SoftmaxCrossEntropy
from asmgen.asm.isa import ISAS
from asmgen.emit.generate import generate
from asmgen.model.load import load_model


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("isa_name", list(ISAS))
def test_same_input_same_bytes(isa_name: str, tmp_path: Path) -> None:
    model = load_model("models/lenet.py")
    first = generate(model, ISAS[isa_name], tmp_path / "first")
    second = generate(load_model("models/lenet.py"), ISAS[isa_name], tmp_path / "a longer path")
    assert files(first.folder) == files(second.folder)
    assert not any(str(tmp_path).encode() in content for content in files(first.folder).values())


def test_kernels_of_an_earlier_build_go(tmp_path: Path) -> None:
    first = generate(load_model("models/lenet.py", {"pool": "max"}), ISAS["avx2"], tmp_path)
    names = set(files(first.folder))
    second = generate(load_model("models/lenet.py", {"pool": "avg"}), ISAS["avx2"], tmp_path)
    assert {path.name for path in second.sources} | {"manifest.json"} == set(files(second.folder))
    assert names - set(files(second.folder)), "the two builds should differ"


def test_an_unchanged_file_keeps_its_time_stamp(tmp_path: Path) -> None:
    model = load_model("models/mnist_sigmoid.py")
    stamps = [[path.stat().st_mtime_ns for path in generate(model, ISAS["avx2"], tmp_path).sources] for _ in range(2)]
    assert stamps[0] == stamps[1]


def test_manifest_names_every_kernel(tmp_path: Path) -> None:
    generated = generate(load_model("models/mnist_sigmoid.py"), ISAS["sse41"], tmp_path)
    manifest = json.loads((generated.folder / "manifest.json").read_text())
    assert {kernel["symbol"] for kernel in manifest["kernels"]} == {
        path.stem for path in generated.sources if path.name != "trainer.asm"
    }


def test_initial_values_from_a_file(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "w.npy", values)
    model = Model(
        name="from_file", input=(1, 2, 2), batch_size=2, data=Dataset("none"),
        layers=[Flatten(), Dense(3, init=FromFile(str(tmp_path / "w.npy")))],
        loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=0.1),
    )  # fmt: skip
    generated = generate(model, ISAS["avx2"], tmp_path)
    assert (generated.folder / "init" / "1.weight.bin").read_bytes() == values.tobytes()
    assert 'incbin "init/1.weight.bin"' in (generated.folder / "trainer.asm").read_text()
