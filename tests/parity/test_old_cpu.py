"""Trainers on CPUs that this machine is not, by qemu-user: SSE4.1 runs on a Penryn, AVX-512 says what it lacks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asmgen.asm.isa import ISAS
from asmgen.data.idx import write_idx
from asmgen.emit.generate import generate
from asmgen.model.load import load_model
from asmgen.toolchain.build import build_trainer

QEMU = shutil.which("qemu-x86_64")
pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed")

# Every kind of kernel is in one of these.
MODELS = [
    ("catdog", {"size": "16", "batch": "3"}),
    ("lenet", {"pool": "avg", "batch": "5"}),
    ("mnist_sigmoid", {}),
    ("vgg_small", {"size": "16", "batch": "2"}),
]


def trainer_and_data(name: str, options: dict[str, str], isa: str, folder: Path) -> Path:
    model = load_model(f"models/{name}.py", options)
    generated = generate(model, ISAS[isa], folder / isa)
    rng = np.random.default_rng(0)
    c, h, w = model.input
    shape = (12, h, w) if c == 1 else (12, c, h, w)
    for split in ("train", "test"):
        write_idx(folder / f"{split}-images-idx{len(shape)}-ubyte", rng.integers(0, 256, shape).astype(np.uint8))
        write_idx(folder / f"{split}-labels-idx1-ubyte", rng.integers(0, 2, 12).astype(np.uint8))
    return build_trainer(generated.folder, generated.sources)


def run(command: list[object]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("name", "options"), MODELS, ids=[name for name, _ in MODELS])
def test_sse41_trains_on_a_penryn(name: str, options: dict[str, str], tmp_path: Path) -> None:
    trainer = trainer_and_data(name, options, "sse41", tmp_path)
    digests = []
    for launcher in ([], [QEMU, "-cpu", "Penryn"]):
        saved = tmp_path / "weights.safetensors"
        done = run([*launcher, trainer, "--data", tmp_path, "--epochs", 1, "--batch-limit", 2, "--save", saved])
        assert done.returncode == 0, done.stderr
        digests.append(hashlib.sha256(saved.read_bytes()).hexdigest())
    assert digests[0] == digests[1], "other bits than on this CPU"


@pytest.mark.parametrize(("isa", "cpu", "lacks"), [("avx512", "Haswell", "avx512f"), ("avx2", "Penryn", "avx2")])
def test_a_cpu_without_the_level_gets_one_line(isa: str, cpu: str, lacks: str, tmp_path: Path) -> None:
    trainer = trainer_and_data("mnist_sigmoid", {}, isa, tmp_path)
    done = run([QEMU, "-cpu", cpu, trainer, "--data", tmp_path])
    assert done.returncode == 3
    assert lacks in done.stderr
    assert "--isa" in done.stderr
    # qemu warns of features that it cannot emulate; the trainer itself says one line.
    assert len([line for line in done.stderr.splitlines() if not line.startswith("qemu")]) == 1
