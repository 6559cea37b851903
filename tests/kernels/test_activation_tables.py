"""An activation is an entry a table: throw-away kinds have kernels, and a table without an entry is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asmgen import SGD, Conv2D, Dataset, Dense, Flatten, MeanSquaredError, Model
from asmgen.asm.isa import ISAS
from asmgen.cuda.common import activations as cuda
from asmgen.cuda.resident.resident import Refusal
from asmgen.cuda.resident.resident_choice import decide
from asmgen.cuda.target import CUDA
from asmgen.emit.planning import plan_for
from asmgen.harness import activation_bounds
from asmgen.harness.check import check_kernel
from asmgen.harness.cuda.check import check_cuda_kernels
from asmgen.kernels.common import activations as cpu
from asmgen.kernels.registry import emit_kernel
from asmgen.ops.base import Elementwise
from asmgen.peers import numpy_layers
from asmgen.plan import specs
from asmgen.plan.build import build_plan
from asmgen.plan.layout import ConvWeights, DenseWeights, Halo, Image, Rows
from asmgen.plan.specs import TRAITS, ActBackward, ActForward, Activation, Conv, KernelSpec, Pool, Traits
from asmgen.reference import activations as reference
from tests.activation_kinds import HILL, SOFTSIGN, Hill, Softsign, register

KINDS = (SOFTSIGN, HILL)


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def passes(kind: str, lanes: int, dtype: str) -> list[KernelSpec]:
    """Passes of their own over images with and without a halo, and over rows."""
    act = Activation(kind)
    plain, halo = (Image(2, lanes + 3, 3, 5, lanes, dtype, h) for h in (Halo(0, 0, 0, 0), Halo(1, 2, 3, 1)))
    rows = Rows(2, 83, lanes, dtype)
    found: list[KernelSpec] = []
    for x, y in ((plain, halo), (halo, plain), (plain, plain), (rows, rows)):
        saved = x if act.traits.slope_from == "x" else y
        found += [ActForward(x, y, act), ActBackward(x, saved, x, act)]
    return found


def fused(kind: str, lanes: int, dtype: str) -> list[KernelSpec]:
    """At the end of convolutions and dense layers."""
    act, x = Activation(kind), Rows(3, 19, lanes, dtype)
    weights, y = DenseWeights(2 * lanes, x, lanes, dtype), Rows(3, 2 * lanes, lanes, dtype)
    image = Image(2, lanes, 6, 6, lanes, dtype, Halo(1, 1, 1, 1))
    conv = Conv(image, ConvWeights(lanes + 1, lanes, 3, 3, lanes, dtype), 6, 6, 1, 1, 1, 1, True)
    out, half = (Image(2, lanes + 1, side, side, lanes, dtype) for side in (6, 3))
    pool = Pool("max", 2, 2, 2, 2)
    return [
        specs.DenseForward(x, weights, y, True, act),
        specs.Conv2dForward(conv, out, act, None, False),
        specs.Conv2dForward(conv, half, act, pool, True),
    ]


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_passes(isa: str, kind: str, dtype: str) -> None:
    for spec in passes(kind, ISAS[isa].lanes(dtype), dtype):
        check_kernel(spec, isa)


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fused(isa: str, dtype: str) -> None:
    dense, conv, pooled = fused(SOFTSIGN, ISAS[isa].lanes(dtype), dtype)
    assert isinstance(dense, specs.DenseForward)
    assert isinstance(conv, specs.Conv2dForward)
    assert isinstance(dense.weights, DenseWeights)
    what = dense.y, dense.bias, dense.act
    by_output = specs.DenseForwardByOutput(dense.x, dense.weights.by_output(), *what)
    winograd = specs.Conv2dForwardWinograd(conv.conv, conv.y, conv.act, None, False, 2)
    for spec in (dense, conv, pooled, by_output, winograd):
        check_kernel(spec, isa)


@pytest.mark.usefixtures("kinds")
def test_cuda() -> None:
    lanes = CUDA.lanes("float32")
    wanted = [spec for kind in KINDS for spec in passes(kind, lanes, "float32")]
    check_cuda_kernels([*wanted, *fused(SOFTSIGN, lanes, "float32")])


def _model(act: Elementwise) -> Model:
    return Model(
        name="net", input=(1, 6, 6), batch_size=2, data=Dataset("none"),
        layers=[Conv2D(4, 3), act, Flatten(), Dense(8), act, Dense(2)],
        loss=MeanSquaredError(), optimizer=SGD(lr=0.1),
    )  # fmt: skip


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize(
    ("act", "saved", "n_passes"),
    [(Softsign(), ["softsign1", "softsign2"], 0), (Hill(), ["conv1", "dense1"], 2)],
    ids=KINDS,
)
def test_plans_keep_what_a_slope_is_found_from(act: Elementwise, saved: list[str], n_passes: int) -> None:
    """softsign is fused with the products; its gradient is a pass on dy."""
    plan = build_plan(_model(act), 8)
    gradients = [entry for entry in plan.phase("backward") if isinstance(entry.spec, ActBackward)]
    assert [entry.args[1] for entry in reversed(gradients)] == saved
    assert sum(isinstance(entry.spec, ActForward) for entry in plan.phase("forward")) == n_passes


@pytest.mark.usefixtures("kinds")
def test_resident_training_keeps_outputs_only() -> None:
    model = Model(
        name="net", input=(1, 4, 4), batch_size=2, data=Dataset("none"),
        layers=[Flatten(), Dense(8), Hill(), Dense(2)], loss=MeanSquaredError(), optimizer=SGD(lr=0.1),
    )  # fmt: skip
    choice = decide(plan_for(model, CUDA), ("sm_90",), "float32")
    assert isinstance(choice, Refusal)
    assert "slope of hill" in str(choice)


def test_kinds_without_an_entry_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown at all, or known by its properties alone: nothing is taken for another activation."""
    with pytest.raises(ValueError, match="'nonesuch' has no properties; there are those of: none, relu"):
        Activation("nonesuch")
    monkeypatch.setitem(TRAITS, "nonesuch", Traits("x", True, False, False, False, "_nonesuch"))
    act, x = Activation("nonesuch"), np.ones(3)
    lookups: tuple[Callable[[], Any], ...] = (
        lambda: reference.activate(act, x),
        lambda: reference.slope(act, x),
        lambda: cpu.code_of(act),
        lambda: cuda.code_of(act),
        lambda: activation_bounds.bounds_of(act),
        lambda: [emit_kernel(spec, ISAS["avx2"]) for spec in passes("nonesuch", 8, "float32")],
    )
    for lookup in lookups:
        with pytest.raises(ValueError, match="'nonesuch' has no"):
            lookup()


@pytest.mark.parametrize("act", [Softsign(), Hill()], ids=KINDS)
def test_the_numpy_peer_takes_what_it_does_not_know_from_the_op(act: Elementwise) -> None:
    """In the precision of its input, with the slope from x or from y."""
    x, dy = np.random.default_rng(7).normal(size=(2, 3, 5)).astype(np.float32)
    node = numpy_layers.ActivationNode(act)
    y = node.forward(x)
    dx = node.backward(dy)
    assert (y.dtype, dx.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(y, act.f(x), rtol=1e-6)
    np.testing.assert_allclose(dx, dy * act.slope(x if act.slope_from == "x" else act.f(x)), rtol=1e-6)


def test_alpha_belongs_to_kinds_that_have_one() -> None:
    with pytest.raises(ValueError, match="'relu' has no alpha"):
        Activation("relu", 0.1)


@pytest.mark.usefixtures("kinds")
def test_what_a_spec_cannot_tell_is_refused() -> None:
    image = Image(1, 8, 4, 4, 8, "float32")
    conv = Conv(image, ConvWeights(8, 8, 1, 1, 8, "float32"), 4, 4, 1, 1, 0, 0, True)
    half, act = Image(1, 8, 2, 2, 8, "float32"), Activation(SOFTSIGN)
    wrong = {
        "slope is not told": specs.Conv2dUnpool(image, image, image, act, None),
        "live bits": specs.Conv2dForward(conv, half, act, Pool("avg", 2, 2, 2, 2), True),
        "cannot be fused": specs.Conv2dForward(conv, image, Activation(HILL), None, False),
    }
    for message, spec in wrong.items():
        with pytest.raises(ValueError, match=message):
            spec.check()
