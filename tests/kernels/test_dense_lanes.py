"""How a dense layer's weights lie, and when forward turns them."""

from __future__ import annotations

import pytest

from asmgen.asm.isa import ISAS
from asmgen.plan.specs import Activation, DenseForward
from asmgen.tile.dense.dense_lanes import dense_lanes
from tests.kernels.dense_shapes import Shape


def lanes_of(n: int, features: int, out: int, isa: str, *, has_dx: bool, dtype: str = "float32") -> str:
    vectors, extra = divmod(features, ISAS[isa].lanes(dtype))
    x, w, y = Shape(n, vectors, extra, out).layouts(isa, dtype)
    return dense_lanes(DenseForward(x, w, y, True, Activation("relu")), has_dx, ISAS[isa])


@pytest.mark.parametrize(("isa", "expected"), [("avx512", "outputs"), ("avx2", "outputs"), ("sse41", "inputs")])
def test_first_layers_lie_by_output_where_broadcasts_cost_little(isa: str, expected: str) -> None:
    assert lanes_of(64, 784, 256, isa, has_dx=False) == expected


def test_few_outputs_stay_by_input() -> None:
    """Most lanes would have no weight, and the optimizer steps over them."""
    assert lanes_of(64, 784, 10, "avx512", has_dx=False) == "inputs"


def test_weights_beyond_l2_stay_by_input() -> None:
    assert lanes_of(64, 4096, 256, "avx512", has_dx=False) == "inputs"
    assert lanes_of(64, 4096, 256, "avx512", has_dx=True) == "inputs"


def test_where_there_is_a_gradient_forward_turns_for_enough_samples() -> None:
    assert lanes_of(64, 256, 128, "avx512", has_dx=True) == "turned"
    assert lanes_of(4, 256, 128, "avx512", has_dx=True) == "inputs"


def test_only_whole_vectors_of_outputs_are_turned() -> None:
    assert lanes_of(64, 256, 132, "avx512", has_dx=True) == "inputs"


def test_rows_that_are_no_whole_quads_stay_by_input() -> None:
    """45 values of an image in lanes of 2 are 54 elements."""
    x, w, y = Shape(64, 0, 0, 256, image=(5, 3, 3)).layouts("sse41", "float64")
    assert w.by_output().n_rows % 4
    assert dense_lanes(DenseForward(x, w, y, True, Activation("relu")), False, ISAS["sse41"]) == "inputs"
