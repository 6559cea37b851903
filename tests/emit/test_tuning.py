"""Tune files: what they change, that they change nothing else, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asmgen.asm.isa import AVX2, AVX512
from asmgen.emit.generate import generate
from asmgen.emit.planning import plan_for
from asmgen.emit.tuning import UNTUNED, Choice, Tuning, algorithm_of, read_tuning, tuning_text
from asmgen.errors import UsageError
from asmgen.model.load import load_model
from asmgen.plan import specs
from asmgen.plan.plan import Plan
from asmgen.tile.candidates import candidates
from asmgen.toolchain.stamp import digest

LENET = load_model("models/lenet.py")
CATDOG = load_model("models/catdog.py")


def stem_of(plan: Plan, op: type[specs.KernelSpec]) -> str:
    return next(spec.stem() for spec in plan.specs() if type(spec) is op)


def second(plan: Plan, op: type[specs.KernelSpec]) -> dict[str, Choice]:
    """The second best tile of the first kernel of an op."""
    spec = next(spec for spec in plan.specs() if type(spec) is op)
    return {spec.stem(): Choice(str(candidates(spec, AVX2)[1].tile), 1.1)}


def sources(folder: Path) -> dict[str, str]:
    """By name; trainer.asm without the number of threads that are worth it, which follows from predicted cycles."""
    texts = {path.name: path.read_text() for path in folder.glob("*.asm")}
    lines = texts["trainer.asm"].splitlines()
    return texts | {"trainer.asm": "\n".join(line for line in lines if "FACT model_useful_threads" not in line)}


def test_a_tile_changes_its_kernel_and_nothing_else(tmp_path: Path) -> None:
    plan = plan_for(LENET, AVX2)
    tiles = second(plan, specs.Conv2dForward) | second(plan, specs.DenseBackwardWeightsStep)
    tuning = Tuning("lenet.tune.json", "some CPU", {}, tiles)
    plain = sources(generate(LENET, AVX2, tmp_path / "plain").folder)
    tuned = generate(LENET, AVX2, tmp_path / "tuned", tuning).folder
    assert sources(tuned).keys() == plain.keys()
    changed = {name for name, text in sources(tuned).items() if text != plain[name]}
    assert changed == {f"{stem}_avx2.asm" for stem in tiles}
    assert all("tile from lenet.tune.json" in sources(tuned)[name] for name in changed)
    again = generate(LENET, AVX2, tmp_path / "again", tuning).folder
    for path in tuned.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    facts = json.loads((tuned / "manifest.json").read_text())["tuning"]
    assert facts == tuning.facts()
    assert "tuning" not in json.loads((tmp_path / "plain" / "lenet" / "avx2" / "manifest.json").read_text())


def test_an_algorithm_changes_the_plan() -> None:
    spec = next(spec for spec in plan_for(CATDOG, AVX512).specs() if isinstance(spec, specs.Conv2dForwardWinograd))
    key = algorithm_of(spec)
    assert key is not None
    ops = {}
    for choice in ("direct", "winograd F(2x2)", "winograd F(4x4)"):
        plan = plan_for(CATDOG, AVX512, Tuning("f", "", {key: Choice(choice, 1.1)}))
        (kernel,) = (entry.spec for entry in plan.entries if algorithm_of(entry.spec) == key)
        ops[choice] = getattr(kernel, "m", None)
    assert ops == {"direct": None, "winograd F(2x2)": 2, "winograd F(4x4)": 4}
    with pytest.raises(UsageError, match=r"f: conv3_fwd_\S+: 'F\(6x6\)' is none of winograd F\(4x4\), .*direct; run"):
        plan_for(CATDOG, AVX512, Tuning("f", "", {key: Choice("F(6x6)", 2.0)}))


def test_a_file_keeps_the_levels_apart(tmp_path: Path) -> None:
    path = tmp_path / "lenet.tune.json"
    tuning = Tuning(path.name, "some CPU", {"b": Choice("direct", 1.5), "a": Choice("direct", 1.25)}, {})
    path.write_text(tuning_text(path, "lenet", AVX2, tuning))
    first = path.read_text()
    path.write_text(tuning_text(path, "lenet", AVX512, UNTUNED))
    assert read_tuning(path, "lenet", AVX2) == tuning
    assert list(read_tuning(path, "lenet", AVX2).algorithms) == ["a", "b"]
    assert read_tuning(path, "lenet", AVX512).tiles == {}
    path.unlink()
    assert tuning_text(path, "lenet", AVX2, tuning) == first


def test_entries_of_other_shapes_are_named() -> None:
    plan = plan_for(LENET, AVX2)
    tiles = second(plan, specs.DenseForward) | {"dense_fwd_n1f1_k1_f32": Choice("anything", 2.0)}
    assert Tuning("f", "", {}, tiles).unused(plan) == ["dense_fwd_n1f1_k1_f32"]


def test_a_tile_that_cannot_be_is_refused() -> None:
    plan = plan_for(LENET, AVX2)
    stem = stem_of(plan, specs.DenseForward)
    spec = next(spec for spec in plan.specs() if spec.stem() == stem)
    with pytest.raises(UsageError, match=f"f: {stem} cannot have the tile 'huge' on avx2; run `asmgen tune` again"):
        Tuning("f", "", {}, {stem: Choice("huge", 9.0)}).tile(spec, AVX2)


LEVEL = {"cpu": "c", "algorithms": {}, "tiles": {}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no tune file: Expecting"),
        ([], "must have `model` and `levels`"),
        ({"model": "lenet", "levels": {"mmx": LEVEL}}, "level 'mmx' is none of sse41, avx2, avx512"),
        ({"model": "lenet", "levels": {"avx2": {}}}, "avx2 must have `cpu`, `algorithms` and `tiles`"),
        ({"model": "lenet", "levels": {"avx2": LEVEL | {"tiles": {"k": "x"}}}}, "avx2, k: it must have `choice`"),
        ({"model": "lenet", "levels": {"avx2": LEVEL | {"tiles": []}}}, "avx2, tiles: it must have `choice`"),
        (
            {"model": "lenet", "levels": {"avx2": LEVEL | {"tiles": {"k": {"choice": 1, "gain": 1}}}}},
            "`choice` must be a text",
        ),
        ({"model": "catdog", "levels": {}}, "tuned for the model 'catdog', not for 'lenet'"),
        (None, "cannot read the tune file: No such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_files_have_their_line(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.tune.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UsageError) as caught:
        read_tuning(path, "lenet", AVX2)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_is_part_of_the_stamp(tmp_path: Path) -> None:
    path, model_path = tmp_path / "lenet.tune.json", Path("models/lenet.py")
    keys = [digest(LENET, model_path, {}, "avx2")]
    for text in ("a", "b"):
        path.write_text(text)
        keys.append(digest(LENET, model_path, {}, "avx2", path))
    assert len(set(keys)) == 3
