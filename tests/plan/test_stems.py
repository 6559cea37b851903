"""A kernel has one name, and specs that differ have names that differ: a program links kernels by names alone."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import pytest

from asmgen import SGD, Conv2D, Dataset, Dense, Flatten, MeanSquaredError, Model, ReLU
from asmgen.asm.isa import ISAS
from asmgen.cuda.target import CUDA
from asmgen.emit.cuda import emit_cuda_plan
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.plan import specs
from asmgen.plan.build import build_plan
from asmgen.plan.layout import Halo, Rows
from asmgen.plan.policy import Policy
from asmgen.plan.specs import TRAITS, KernelSpec, Pool
from tests.kernels.support import every_spec

Path = tuple[str, ...]

_WORDS = {
    "dtype": ("float32", "float64"),
    "kind": (
        "sgd",
        "momentum",
        "nesterov",
        "adam",
        "adamw",
        "softmax_ce",
        "bce",
        "mse",
        "mae",
        "huber",
        "softmax",
        "max",
        "avg",
        *TRAITS,
    ),
}
_POOLS = (Pool("max", 2, 2, 2, 2), Pool("avg", 2, 2, 2, 2), Pool("max", 3, 3, 2, 2), Pool("max", 2, 3, 2, 3))
_TAPS = r"conv\\d+(x\\d+)?(s\\d+(x\\d+)?)?(t\\d+l\\d+)?"  # as the replacement of a pattern
N_CHANGES = 1000  # of a class's specs


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field that is not made of fields, and those that may be None."""
    if not is_dataclass(value) or isinstance(value, Pool):
        yield path, value
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))


def at(value: Any, path: Path, new: Any) -> Any:
    """`value` with another field, however deep."""
    if not path:
        return new
    if value is None:  # a part that another change took away
        return None
    return replace(value, **{path[0]: at(getattr(value, path[0]), path[1:], new)})


def changed(rng: random.Random, name: str, value: Any) -> Any:
    """Another value of a field's type."""
    if name == "pool" or isinstance(value, Pool):
        return rng.choice((None, *_POOLS))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, rng.choice((value + 1, value - 1, 2 * value, value // 2, rng.randrange(12))))
    if isinstance(value, float):
        return rng.choice((0.0, 0.5, 0.1, 0.01, 1e-5, value / 2, value + 0.25, -value))
    if isinstance(value, str):
        return rng.choice(_WORDS[name])
    if isinstance(value, tuple):
        return tuple(changed(rng, name, item) if rng.random() < 0.7 else item for item in value)
    return value


def changes(rng: random.Random, spec: KernelSpec) -> KernelSpec:
    """One to three changes: of a field, of all fields of one name, or of some that hold the same number."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = list(leaves(spec))
        path, value = rng.choice(found)
        new, together = changed(rng, path[-1], value), rng.choice(("one", "name", "value", "some"))
        for other, held in found:
            same = type(held) is type(value) and held == value
            if other == path or (
                same
                and (
                    (together == "name" and other[-1] == path[-1])
                    or together == "value"
                    or (together == "some" and rng.random() < 0.5)
                )
            ):
                spec = at(spec, other, new)
    return spec


@cache
def bases(isa: str, dtype: str) -> dict[type[KernelSpec], list[KernelSpec]]:
    """Specs of every class."""
    found: dict[type[KernelSpec], list[KernelSpec]] = {}
    for spec in every_spec(isa, dtype):
        found.setdefault(type(spec), []).append(spec)
        if isinstance(spec, specs.Conv2dForward) and spec.pool and spec.pool.kind == "max":
            dy = replace(spec.y, halo=Halo())
            dx = replace(spec.conv.x, halo=Halo(), block=spec.y.block)
            for pooled in (
                specs.Conv2dBackwardWeightsPooled(spec.conv, dy, spec.pool),
                specs.Conv2dBackwardInputPooled(spec.conv, dy, dx, spec.pool),
            ):
                found.setdefault(type(pooled), []).append(pooled)
        if isinstance(spec, specs.Conv2dForward):
            pixels = specs.Pixels((1 / 255,) * spec.conv.x.c, (0.0,) * spec.conv.x.c)
            conv = replace(spec.conv, x=replace(spec.conv.x, block=1), pixels=pixels)
            found[type(spec)].append(replace(spec, conv=conv))
        if isinstance(spec, specs.WinogradWeights) and spec.mirrored:
            found[type(spec)].append(replace(spec, weights=spec.taps))
    return found


def _classes() -> set[type[KernelSpec]]:
    known = (getattr(specs, name) for name in specs.__all__)
    return {
        kind for kind in known if isinstance(kind, type) and issubclass(kind, KernelSpec) and kind is not KernelSpec
    }


def _is_legal(spec: KernelSpec) -> bool:
    try:
        spec.check()
        spec.slice_units()
    except (ValueError, KeyError, ZeroDivisionError, AttributeError):
        return False
    return True


def _tried(rng: random.Random, spec: KernelSpec) -> KernelSpec | None:
    """A change of it, or None where its parts refuse that."""
    try:
        return changes(rng, spec)
    except (ValueError, AttributeError):
        return None


def test_every_class_has_specs() -> None:
    assert set(bases("avx2", "float32")) == _classes()


@pytest.mark.parametrize("kind", sorted(_classes(), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("isa", "dtype"), [("avx2", "float32"), ("avx512", "float64")])
def test_different_specs_have_different_stems(isa: str, dtype: str, kind: type[KernelSpec]) -> None:
    """Random changes of specs, of one field or of several that belong together, kept where they are legal."""
    rng = random.Random(kind.__name__ + isa)
    lanes = ISAS[isa].lanes(dtype)
    named: dict[str, KernelSpec] = {}
    pool = list(bases(isa, dtype)[kind])
    legal, n_bases = 0, len(pool)
    for number in range(N_CHANGES + n_bases):
        spec: KernelSpec | None = pool[number] if number < n_bases else _tried(rng, rng.choice(pool))
        if spec is None or not _is_legal(spec) or not _is_of_lanes(spec, lanes, dtype):
            continue
        legal += 1
        _check_name(spec)
        other = named.setdefault(spec.stem(), spec)
        assert spec == other, f"{spec.stem()} names two specs:\n{spec}\n{other}"
        if number >= n_bases and len(pool) < 300:
            pool.append(spec)  # changes add up
    assert legal > 20


def _check_name(spec: KernelSpec) -> None:
    """The symbol begins with the op, in which `conv2d` is `conv<taps>`; the plan prints the op and what is fused."""
    has_taps = hasattr(spec, "conv") or hasattr(spec, "weights")
    head = re.sub("^conv2d", _TAPS, spec.op) if has_taps else spec.op
    assert re.match(f"{head}_", spec.stem()), f"{spec.stem()} does not begin with {spec.op}"
    assert spec.text.split("+") == [spec.op, *spec.fused]
    assert "_".join(spec.fused) in spec.stem()


def test_an_op_is_of_one_class() -> None:
    classes: dict[str, set[type[KernelSpec]]] = {}
    for kind, found in bases("avx2", "float32").items():
        for spec in found:
            classes.setdefault(spec.op, set()).add(kind)
    assert {op: kinds for op, kinds in classes.items() if len(kinds) > 1} == {}


def _is_of_lanes(spec: KernelSpec, lanes: int, dtype: str) -> bool:
    """Whether its vectors are the ISA's, which a symbol names beside the stem."""
    found = {path[-1]: value for path, value in leaves(spec) if path[-1] == "dtype"}
    return found == {"dtype": dtype} and all(value in (1, lanes) for path, value in leaves(spec) if path[-1] == "block")


def _there_and_back(**options: Any) -> Model:
    """Two convolutions without biases, C -> K and K -> C, and two of one shape of which one has a bias."""
    return Model(
        name="there_and_back", input=(3, 10, 10), batch_size=8, data=Dataset("none", scale=1 / 255), layers=[
            Conv2D(20, 3, padding="same", bias=False), ReLU(),
            Conv2D(40, 3, padding="same", bias=False), ReLU(), Conv2D(20, 3, padding="same", bias=False), ReLU(),
            Conv2D(20, 3, padding="same", bias=False), ReLU(), Conv2D(20, 3, padding="same"), ReLU(),
            Flatten(), Dense(3),
        ],
        loss=MeanSquaredError(), optimizer=SGD(lr=0.1), **options,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_convolutions_there_and_back(dtype: str) -> None:
    """Gradients in several parts, for every ISA and for CUDA: each name is one kernel's."""
    model = _there_and_back(dtype=dtype)
    for isa in ISAS.values():
        parted = build_plan(model, isa.lanes(dtype), Policy(sample_parts=lambda conv: 4))
        assert {s.sample_parts for s in parted.specs() if isinstance(s, specs.Conv2dBackwardWeights)} == {4}
        for plan in (parted, plan_for(model, isa)):
            assert len(emit_plan(plan, isa)) == len(set(plan.specs()))
    plan = plan_for(model, CUDA)
    assert len(emit_cuda_plan(plan, "float32")) == len(set(plan.specs()))


def test_hyperparameters_are_in_the_names() -> None:
    """Where they are not the usual ones."""
    step = specs.Update("adamw", "float32", 8, 5, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01)
    assert step.stem() == "update_adamw_v5_f32"
    other = replace(step, beta1=0.8, eps=1e-6, weight_decay=0.1)
    assert other.stem() == "update_adamw_v5_b0p8_0p999_eps1em06_wd0p1_f32"
    rows = Rows(2, 4, 8, "float32")
    load = specs.LoadInput(1, 2, 2, rows, (1 / 255,), (0.0,))
    assert load.stem() == "load_input_n2c1h2w2_rows_f32"
    scaled = replace(load, scale=(0.5,)).stem()
    assert scaled.startswith("load_input_n2c1h2w2_rows_affine")
