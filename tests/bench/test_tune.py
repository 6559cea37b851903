"""What wins a contest, and a contest of real kernels."""

from __future__ import annotations

from networks import NETWORKS, make

from asmgen.asm.isa import ISAS
from asmgen.bench.compare import Timing
from asmgen.bench.tune import Measured, TuneRow, _gain, choices, tune
from asmgen.emit.generate import emit_plan
from asmgen.emit.planning import plan_for
from asmgen.emit.tuning import ALGORITHMS


def test_only_a_clear_gain_counts():
    steady = Timing("first", (1.0, 1.01, 0.99, 1.0))
    assert _gain(steady, Timing("other", (0.5, 0.5, 0.5, 0.5))) == 2.0
    assert _gain(steady, Timing("other", (0.99, 1.0, 0.98, 0.99))) == 1.0
    assert _gain(steady, Timing("other", (0.5, 1.5, 0.5, 1.5))) == 1.0


def test_what_is_kept_is_what_won():
    tried = (Measured("first", 10.0, 12.0), Measured("second", 11.0, 8.0))
    rows = [TuneRow("tiles", "a", tried, 1, 1.5), TuneRow("tiles", "b", tried, 0, 1.0)]
    tuning = choices([*rows, TuneRow("algorithms", "c", tried, 1, 1.2)], "CPU")
    assert {name: entry.choice for name, entry in tuning.tiles.items()} == {"a": "second"}
    assert {name: entry.gain for name, entry in tuning.algorithms.items()} == {"c": 1.2}


def test_a_contest_of_every_choice(isa):
    """Each row names a kernel of the plan or a convolution's direction; what it keeps can be built."""
    level = ISAS[isa]
    model = make(*NETWORKS["conv_relu_avgpool"], dtype="float32")
    rows = list(tune(model, level, 2, 2, lambda _: None))
    plan = plan_for(model, level)
    stems = {spec.stem() for spec in plan.specs()}
    assert {row.kind for row in rows} == {"algorithms", "tiles"}
    for row in rows:
        assert all(measured.cycles > 0 and measured.predicted > 0 for measured in row.tried)
        assert (row.gain > 1) == (row.winner > 0)
        if row.kind == "algorithms":
            assert {measured.choice for measured in row.tried} <= set(ALGORITHMS.values())
        elif not any(other.winner for other in rows if other.kind == "algorithms"):
            assert row.name in stems
    tuning = choices(rows, "CPU")
    emit_plan(plan_for(model, level, tuning), level, tuning)
