"""A graph that does not hold together is refused by its check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asmgen.graph.graph import Graph
from asmgen.model.load import load_model
from asmgen.plan.graphs import PASSES


@pytest.fixture(params=PASSES)
def graph(request: pytest.FixtureRequest) -> Graph:
    return PASSES[request.param](load_model("models/lenet.py"))


def test_a_shape_that_the_op_does_not_make_is_refused(graph: Graph) -> None:
    name = graph.nodes[1].outputs[0]
    values = {**graph.values, name: replace(graph.values[name], shape=(7, 7, 7))}
    with pytest.raises(ValueError, match="its op says|adds|input"):
        replace(graph, values=values).check()


def test_a_value_that_nobody_makes_is_refused(graph: Graph) -> None:
    with pytest.raises(ValueError, match="before anything made it"):
        replace(graph, nodes=graph.nodes[1:]).check()


def test_a_value_that_is_made_twice_is_refused(graph: Graph) -> None:
    with pytest.raises(ValueError, match="is made twice"):
        replace(graph, nodes=(graph.nodes[0], *graph.nodes)).check()
