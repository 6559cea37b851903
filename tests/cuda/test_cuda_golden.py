"""The text of one tiny kernel per op: what changes in it is seen before it is measured.

`pytest tests/cuda/test_cuda_golden.py --update-golden` writes tests/golden/cuda/ anew.
"""

from __future__ import annotations

import difflib

import pytest

from asmgen.cuda import registry
from asmgen.cuda.target import CUDA
from asmgen.plan import specs
from asmgen.plan.layout import Rows
from tests.kernels.test_golden import F32, GOLDEN, MAX_LINES, tiny

FOLDER = GOLDEN / "cuda"
TOO_LONG = {
    specs.Conv2dForward,
    specs.Conv2dBackwardInput,
    specs.Conv2dBackwardInputPooled,
    specs.Conv2dBackwardWeights,
    specs.Conv2dBackwardWeightsPooled,
}
OPS = registry.OPS - TOO_LONG


def specs_by_name() -> dict[str, specs.KernelSpec]:
    """The CPU's tiny specs of the ops that CUDA has, and two that only a CPU's text is too long for.

    CUDA's dense weights lie by input.
    """
    found = {name: spec for name, spec in tiny(CUDA.lanes(F32)).items() if type(spec) in OPS}
    found["probabilities_softmax"] = specs.Probabilities("softmax", Rows(1, 4, CUDA.lanes(F32), F32))
    rows = Rows(1, 4, CUDA.lanes(F32), F32)
    found["dropout"] = specs.Dropout(rows, rows, 0.5, 0)
    return {name: spec for name, spec in found.items() if name != "dense_dw_sgd_by_output"}


SPECS = specs_by_name()


@pytest.mark.parametrize("op", SPECS)
def test_text(op: str, request: pytest.FixtureRequest) -> None:
    text, golden = registry.emit(SPECS[op]).text, FOLDER / f"{op}.cu"
    if request.config.getoption("--update-golden"):
        FOLDER.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text.count("\n") < MAX_LINES
    assert text.split()[1] == SPECS[op].text
    assert golden.exists(), f"{golden} is missing: run this test with --update-golden and read the new file"
    difference = difflib.unified_diff(golden.read_text().splitlines(), text.splitlines(), "golden", "now", lineterm="")
    changed = "\n".join(difference)
    assert not changed, f"{golden} differs; if that is meant, run with --update-golden:\n{changed}"


def test_every_op_has_a_golden_and_every_golden_an_op() -> None:
    assert {type(spec) for spec in SPECS.values()} == OPS
    assert {path.stem for path in FOLDER.glob("*.cu")} == set(SPECS)
