"""The profiled trainer: stamps of every call in the order of the step, and what is made of them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from networks import NETWORKS, make

from asmgen.asm.isa import ISAS
from asmgen.bench.clock import ticks_per_second
from asmgen.bench.profile import link_profiled, run_profiled, summarize
from asmgen.bench.trainer import write_random
from asmgen.cli.main import main
from asmgen.emit.generate import generate
from asmgen.errors import ToolError
from asmgen.plan.build import build_plan
from asmgen.plan.schedule import PHASES
from asmgen.toolchain.build import build_trainer

MODEL = """
from asmgen import SGD, Dataset, Dense, Flatten, Model, ReLU, SoftmaxCrossEntropy

model = Model(
    name="tiny", input=(1, 6, 5), layers=[Flatten(), Dense(9), ReLU(), Dense(3)], loss=SoftmaxCrossEntropy(),
    optimizer=SGD(lr=0.1), batch_size=4, data=Dataset("none", validation=("test", 0, 2)),
)
"""


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """(generated, trainer, data, model) of a network with convolutions, for the level that every CPU has."""
    folder = tmp_path_factory.mktemp("profile")
    model = make(*NETWORKS["conv_maxpool_relu"], dtype="float32")
    generated = generate(model, ISAS["sse41"], folder)
    build_trainer(generated.folder, generated.sources)
    write_random(model, folder, 8 * model.batch_size, model.batch_size)
    return generated, link_profiled(generated, folder), folder


@pytest.mark.isa("sse41")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_run_has_every_call_in_order(profiled, threads):
    generated, trainer, data = profiled
    flags = ["--data", str(data), "--epochs", "1000", "--threads", threads, "--lr", "1e-30"]
    profile = run_profiled(trainer, flags, generated.plan, "sse41", 20)
    entries = [entry for phase in PHASES for entry in generated.plan.phase(phase)]
    assert [call.kernel for call in profile.calls] == [entry.spec.symbol("sse41") for entry in entries]
    assert profile.n_steps == 20
    assert all(call.seconds >= 0 and call.waiting >= 0 for call in profile.calls)
    assert profile.between > 0
    assert sum(sum(phases.values()) for phases in profile.layers().values()) == pytest.approx(
        profile.step - profile.between
    )


@pytest.mark.isa("sse41")
def test_what_the_trainer_says_of_a_failure(profiled, tmp_path):
    generated, trainer, data = profiled
    with pytest.raises(ToolError, match=f"ended after 0 steps: .*{tmp_path}"):
        run_profiled(trainer, ["--data", str(tmp_path)], generated.plan, "sse41", 5)
    with pytest.raises(ToolError, match="ended after 8 steps: exit code 0"):
        run_profiled(trainer, ["--data", str(data), "--epochs", "1", "--lr", "1e-30"], generated.plan, "sse41", 50)


def test_medians_of_stamps():
    """Calls of 10, 20, ... ticks, 3 of waiting, 5 between; one step is interrupted, the first three do not count."""
    plan = build_plan(make(*NETWORKS["mlp"]), 4)
    n_calls, clock, tables = len(plan.entries), 1000, []
    for step in range(8):
        late = 10_000 if step in (0, 1, 2, 5) else 0
        calls = [(10 * (call + 1) + late, 3) for call in range(n_calls)]
        ended = clock + sum(ran + waited for ran, waited in calls) + 5 * (n_calls - 1)
        tables.append([(clock, ended), *calls])
        clock = ended + 5
    profile = summarize(np.array(tables, np.uint64).reshape(-1), plan, "avx2")
    ticks = [round(call.seconds * ticks_per_second(), 3) for call in profile.calls]
    assert ticks == [10 * (call + 1) for call in range(n_calls)]
    assert profile.calls[0].waiting * ticks_per_second() == pytest.approx(3)
    assert profile.between * ticks_per_second() == pytest.approx(5 * n_calls)


@pytest.mark.isa("sse41")
def test_the_command(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra [plot])")
    (tmp_path / "tiny.py").write_text(MODEL)
    picture = tmp_path / "bars.png"
    command = ["profile", str(tmp_path / "tiny.py"), "--isa", "sse41", "--out", str(tmp_path), "--steps", "5"]
    done = CliRunner().invoke(main, [*command, "--picture", str(picture)])
    assert done.exit_code == 0, done.output
    assert re.search(r"dense1 +forward +dense_fwd\S*\+bias\+relu", done.stdout)
    assert "between the calls" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = CliRunner().invoke(main, [*command, "--json"])
    found = json.loads(done.stdout)
    assert found["n_steps"] == 5
    assert found["calls"][0]["layer"] == "input"
