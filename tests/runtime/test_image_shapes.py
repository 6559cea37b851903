"""Images of every rank: a trainer takes those whose extents are its input's up to leading ones, and no others."""

from __future__ import annotations

import gzip
import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asmgen import SGD, Dataset, Dense, Flatten, Model, SoftmaxCrossEntropy
from asmgen.asm.isa import ISAS
from asmgen.data.directory import image_shape
from asmgen.emit.generate import generate
from asmgen.toolchain.build import build_trainer
from tests.runtime.conftest import Build
from tests.runtime.linear import Data, Linear, run, write_idx

INPUTS = [(1, 2, 3), (3, 2, 2), (1, 1, 6), (2, 1, 3), (1, 3, 1), (1, 1, 1), (3, 1, 1)]
HIGHEST_NAME, HIGHEST_RANK = 5, 32
PREFIXES = {"train": ("train",), "test": ("test", "t10k")}
Extents = tuple[int, ...]


def rewrite(folder: Path, data: Data, name: str, prefix: str, extents: Extents, rank_of_name: int) -> None:
    """The images of a split as [n, *extents], the only ones of it in `folder`."""
    for old in folder.glob("*-images-*"):
        if old.name.startswith(PREFIXES[name]):
            old.unlink()
    images, _ = data.splits[name]
    write_idx(folder / f"{prefix}-images-idx{rank_of_name}-ubyte", (len(images), *extents), images.tobytes())


def factorings(size: int, rank: int) -> set[Extents]:
    """Every way to write `size` as a product of `rank` extents."""
    return {extents for extents in itertools.product(range(1, size + 1), repeat=rank) if np.prod(extents) == size}


def fits(extents: Extents, wanted: Extents) -> bool:
    """What docs/data.md promises, said in another way than the trainer computes it."""
    rank = max(len(extents), len(wanted))
    return np.zeros(extents).reshape((1,) * (rank - len(extents)) + extents).shape == (1,) * (rank - 3) + wanted


@pytest.mark.parametrize("wanted", INPUTS, ids=str)
def test_extents(wanted: Extents, build: Build, tmp_path: Path) -> None:
    """All shapes that hold as many pixels: the right ones give the bits of rank 4, every other its line."""
    model = Linear(channels=wanted[0], height=wanted[1], width=wanted[2], epochs=1)
    trainer, data, saved = build(model), Data.make(model), tmp_path / "weights"
    folder = data.write(tmp_path / "data")
    assert run(trainer, "--data", folder, "--save", saved).returncode == 0
    weights = saved.read_bytes()
    candidates = set().union(*(factorings(model.inputs, rank) for rank in range(1, 6)))
    taken = set()
    for extents in sorted(candidates):
        rewrite(folder, data, "train", "train", extents, rank := min(1 + len(extents), HIGHEST_NAME))
        said = run(trainer, "--data", folder, "--save", saved)
        if fits(extents, wanted):
            assert (said.returncode, said.stderr, saved.read_bytes()) == (0, "", weights), extents
            taken.add(extents)
        else:
            assert (said.returncode, said.stderr) == (
                1,
                f"trainer: {folder}/train-images-idx{rank}-ubyte has shape {[45, *extents]}, but linear takes "
                f"{['n', *wanted]} (n, channels, height, width; leading ones behind n are free)\n".replace("'", ""),
            )
        assert (image_shape(extents) == wanted) == fits(extents, wanted), "asmgen/data has the same rule"
    core = tuple(itertools.dropwhile(lambda extent: extent == 1, wanted))
    assert taken == {(1,) * ones + core for ones in range(6 - len(core)) if ones or core}


@pytest.mark.parametrize("wanted", INPUTS, ids=str)
def test_names_and_ranks(wanted: Extents, build: Build, tmp_path: Path) -> None:
    """Any rank, up to the highest that IDX files have here, under any of the names, train and test apart."""
    rng = random.Random(repr(wanted))
    model = Linear(channels=wanted[0], height=wanted[1], width=wanted[2], epochs=1)
    trainer, data, saved = build(model), Data.make(model), tmp_path / "weights"
    folder = data.write(tmp_path / "data")
    core = tuple(itertools.dropwhile(lambda extent: extent == 1, wanted))
    expected = None
    for rank_of_name in range(2, HIGHEST_NAME + 1):
        for name, prefix in (("train", "train"), ("test", "test"), ("test", "t10k")):
            ones = rng.choice([rng.randint(0 if core else 1, 3), HIGHEST_RANK - 1 - len(core)])
            rewrite(folder, data, name, prefix, (1,) * ones + core, rank_of_name)
            said = run(trainer, "--data", folder, "--save", saved, "--threads", 1)
            assert (said.returncode, said.stderr) == (0, ""), (said.stderr, ones)
            got = saved.read_bytes(), said.stdout.splitlines()[-1]
            assert got == (expected := expected or got)


def test_every_pair_of_names_is_one_too_many(trainer: Path, tmp_path: Path) -> None:
    folder = Data.make(Linear()).write(tmp_path / "data")
    for split, prefixes in PREFIXES.items():
        content = (folder / f"{split}-images-idx4-ubyte").read_bytes()
        (folder / f"{split}-images-idx4-ubyte").unlink()
        names = [f"{prefix}-images-idx{rank}-ubyte" for prefix in prefixes for rank in range(2, HIGHEST_NAME + 1)]
        for first, second in itertools.combinations(names, 2):
            (folder / first).write_bytes(content)
            (folder / second).write_bytes(content)
            said = run(trainer, "--data", folder)
            assert (said.returncode, said.stderr) == (
                1,
                f"trainer: {folder} has both {first} and {second}: remove one\n",
            )
            (folder / first).unlink()
            (folder / second).unlink()
        (folder / names[0]).write_bytes(content)


def test_compressed_names(trainer: Path, tmp_path: Path) -> None:
    """A packed file is named where there is no plain one, and does not count beside one."""
    folder = Data.make(Linear()).write(tmp_path / "data")
    plain = folder / "train-images-idx4-ubyte"
    content = plain.read_bytes()
    for rank in range(2, HIGHEST_NAME + 1):
        packed = folder / f"train-images-idx{rank}-ubyte.gz"
        packed.write_bytes(gzip.compress(content))
        assert run(trainer, "--data", folder, "--eval").returncode == 0
        plain.unlink()
        said = run(trainer, "--data", folder)
        assert said.stderr == f"trainer: {packed} is compressed: unpack it (gunzip), or run `asmgen data import`\n"
        packed.unlink()
        plain.write_bytes(content)


def test_generated_trainers(isa: str, tmp_path: Path) -> None:
    """Kernels read the images where the file has them: 8, 12, 16, ... bytes behind its start."""
    model = Model(
        name="flat", input=(1, 1, 37), layers=[Flatten(), Dense(3)], loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=0.1),
        batch_size=8, epochs=2, seed=3, data=Dataset("dots", scale=1 / 255),
    )  # fmt: skip
    generated = generate(model, ISAS[isa], tmp_path)
    trainer = build_trainer(generated.folder, generated.sources)
    data = Data.make(Linear(channels=1, height=1, width=37))
    folder, saved, found = data.write(tmp_path / "data"), tmp_path / "weights", set()
    for rank in range(2, HIGHEST_NAME + 1):
        for name in "train", "test":
            rewrite(folder, data, name, name, (1,) * (rank - 2) + (37,), rank)
        said = run(trainer, "--data", folder, "--save", saved, "--quiet")
        assert (said.returncode, said.stderr) == (0, "")
        found.add((saved.read_bytes(), said.stdout))
    assert len(found) == 1


def test_images_of_train_and_test_may_differ_in_rank(build: Build, tmp_path: Path) -> None:
    model = replace(Linear(), epochs=1)
    data = Data.make(model)
    folder = data.write(tmp_path / "data")
    whole = run(build(model), "--data", folder, "--quiet").stdout
    rewrite(folder, data, "test", "t10k", (2, 3), 3)
    said = run(build(model), "--data", folder, "--quiet")
    assert (said.returncode, said.stdout) == (0, whole)
