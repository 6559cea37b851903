"""The tiles that a kernel may have: all legal, the best predicted one first, each with a text, all of them right."""

from __future__ import annotations

import inspect
from functools import partial

import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.emit.planning import plan_for
from asmgen.harness.check import check_kernel
from asmgen.kernels import registry
from asmgen.kernels.registry import emit_kernel
from asmgen.model.load import load_model
from asmgen.plan.specs import KernelSpec
from asmgen.tile.candidates import _CANDIDATES, candidates, predicted_cycles
from tests.kernels.support import every_spec

OPS = sorted(_CANDIDATES, key=lambda op: op.__name__)
MODELS = ("catdog", "lenet", "vgg_small")


def test_whoever_takes_a_tile_has_candidates() -> None:
    takers = {op for op, emit in registry._EMITTERS.items() if "tile" in inspect.signature(emit).parameters}
    assert takers == set(_CANDIDATES)


def richest(op: type[KernelSpec], isa: str) -> KernelSpec:
    """The small, awkward shape of an op that leaves the most to choose."""
    specs = [spec for spec in every_spec(isa, "float32") if type(spec) is op]
    return max(specs, key=lambda spec: len(candidates(spec, ISAS[isa])))


def spread(count: int, most: int) -> list[int]:
    """At most `most` indices from the second to the last."""
    return sorted({1 + step * (count - 2) // max(1, most - 1) for step in range(most)} & set(range(1, count)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("model", MODELS)
def test_the_default_is_the_least_predicted_and_every_tile_has_a_name(model: str, isa: str) -> None:
    level = ISAS[isa]
    for spec in (*plan_for(load_model(f"models/{model}.py"), level).specs(), *every_spec(isa, "float64")):
        found = candidates(spec, level)
        if found:
            cycles = [candidate.cycles for candidate in found]
            assert cycles == sorted(cycles)
            assert cycles[0] > 0
            assert len({str(candidate.tile) for candidate in found}) == len(found), spec


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", OPS)
def test_registers_hold_every_tile(op: type[KernelSpec], isa: str) -> None:
    """Emission raises where they do not. What the listing says of itself is what it was asked for."""
    spec, level = richest(op, isa), ISAS[isa]
    found = candidates(spec, level)
    assert emit_kernel(spec, level).facts.tile == str(found[0].tile)
    for index in spread(len(found), 8):
        listing = emit_kernel(spec, level, found[index].tile)
        assert listing.facts.tile == str(found[index].tile)
        assert predicted_cycles(spec, level, listing) >= found[index].cycles


@pytest.mark.parametrize("op", OPS)
def test_other_tiles_compute_the_same(op: type[KernelSpec], isa: str) -> None:
    """The default is checked wherever kernels are; here the second best and the worst, and one between."""
    spec = richest(op, isa)
    found = candidates(spec, ISAS[isa])
    for index in spread(len(found), 3):
        check_kernel(spec, isa, emit=partial(_emit, found[index].tile))


def _emit(tile: object, spec: KernelSpec, isa: Isa):  # type: ignore[no-untyped-def]
    return emit_kernel(spec, isa, tile)
