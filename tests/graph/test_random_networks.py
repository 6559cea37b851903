"""Random networks: every pass, the plan and the kernels against the graph as the model file has it, node by node.

`--networks N` takes the seeds 0 to N - 1, `--networks A:B` those from A to B - 1. A failure names its own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from asmgen.asm.isa import ISAS, Isa
from asmgen.emit.generate import emit_plan
from asmgen.graph.differentiate import differentiate, gradient_name, next_name
from asmgen.graph.frozen import frozen
from asmgen.graph.fuse import fuse
from asmgen.graph.graph import Graph
from asmgen.graph.simplify import simplify
from asmgen.harness.machine import Machine
from asmgen.harness.steps import TOLERANCE, compare_steps
from asmgen.model.network import Model
from asmgen.model.trace import classes_of, parameters_of, trace
from asmgen.ops.flatten import Flatten
from asmgen.plan.build import build_plan
from asmgen.plan.graphs import PASSES, evaluation_graph, inference_graph, training_graph
from asmgen.plan.layout import DENSE_QUAD
from asmgen.plan.live_list import MAX_MASKS
from asmgen.plan.plan import EVALUATE, INFER, Plan
from asmgen.plan.policy import DenseLanes, Policy, PoolGradients
from asmgen.plan.specs import Conv, DenseForward, DenseForwardByOutput, Dropout, Loss, Pool
from asmgen.plan.specs.dense import MOST_TURNED_BYTES
from asmgen.reference.graph import next_sources, run
from asmgen.reference.interpret import Interpreter
from asmgen.tile.input.pixel_strip import reads_pixels
from asmgen.tile.sparse.behind_max_pool import sparse_cycles
from asmgen.tile.winograd.conv2d_winograd import algorithms
from tests.conftest import lacks
from tests.graph.random_networks import network

Array = np.ndarray[Any, Any]

N_NETWORKS = 300
_PART = re.compile(r"d_.*\.via\d+")
EXACT = 1e-10  # of a value's norm: what the order of sums in float64 changes, many times over


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        asked = metafunc.config.getoption("networks") or str(N_NETWORKS)
        begin, _, end = asked.rpartition(":")
        metafunc.parametrize("seed", range(int(begin or 0), int(end)))


# what a network is given ---------------------------------------------------------------------------------------------


class Given:
    """A network with random parameters and batches; the second batch is not full."""

    def __init__(self, seed: int) -> None:
        self.model = network(seed)
        self.rng = np.random.default_rng(seed)
        self.parameters = {
            # Small enough to leave sigmoids their slope: 1 - y cancels.
            each.name: (self.rng.uniform(-1, 1, each.shape) * np.sqrt(1.5 / each.fan_in)).astype(self.model.dtype)
            for each in parameters_of(self.model)
        }
        n = self.model.batch_size
        self.images = self.rng.integers(0, 256, (2, n, *self.model.input)).astype(np.uint8)
        self.labels = self.rng.integers(0, classes_of(self.model), (2, n))
        self.present = n, (n + 1) // 2

    def hyper(self, step: int) -> tuple[float, float, float]:
        """The hyper block of a step, counted from 0."""
        optimizer, t = self.model.optimizer, step + 1
        beta1, beta2 = (getattr(optimizer, name, 0.0) for name in ("beta1", "beta2"))
        return optimizer.lr, optimizer.lr / (1 - beta1**t), 1 / np.sqrt(1 - beta2**t)

    def sources(self, graph: Graph, step: int = 0) -> dict[str, Any]:
        """All that a graph may read in a step, states at their start."""
        found: dict[str, Any] = {name: np.zeros(graph.values[name].shape) for name in graph.sources}
        found |= {buffer.name: np.full(buffer.shape, buffer.initial) for buffer in graph.buffers}
        found |= {name: value.astype(np.float64) for name, value in self.parameters.items()}
        found |= {"images": self.images[step], "labels": self.labels[step], "present": self.present[step]}
        return found | {"hyper": self.hyper(step), "random": (self.model.seed, step)}

    def steps(self) -> Iterator[dict[str, Any]]:
        """The values of a training step, unfused, for each batch, one step behind the other."""
        graph = differentiate(simplify(trace(self.model)), self.model.optimizer)
        after: dict[str, Any] = {}
        for step in range(len(self.present)):
            values = run(graph, self.sources(graph, step) | after)
            after = next_sources(graph, values)
            yield values


def as_written(model: Model) -> Graph:
    """The graph of the model file, with the loss on the logits where the last layer is part of the loss."""
    graph = trace(model)
    *nodes, loss = graph.nodes
    last = graph.producer(loss.inputs[0])
    if last is None or not isinstance(last.op, model.loss.absorbs or ()):
        return graph
    return graph.with_nodes([*nodes, replace(loss, inputs=(*last.inputs, *loss.inputs[1:]))]).kept()


@contextmanager
def told(seed: int, model: Model) -> Iterator[None]:
    """Adds to a failure the network and how to run it again."""
    try:
        yield
    except Exception as error:
        error.add_note(f"the network of seed {seed}, {model.dtype}, batch {model.batch_size}, {model.optimizer}:")
        error.add_note(str(trace(model)))
        error.add_note(f"rerun: python -m pytest tests/graph/test_random_networks.py --networks {seed}:{seed + 1}")
        raise


def near(got: Any, expected: Any, limit: float, what: str, floor: float = 1e-13) -> None:
    """Raise AssertionError unless the error's norm is within `limit` of the value's, or each element's is `floor`."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    error, norm = float(np.linalg.norm(got - expected)), float(np.linalg.norm(expected))
    assert error <= limit * norm + floor * np.sqrt(expected.size), f"{what}: off by {error:.3g}, its norm is {norm:.3g}"


def near_where_both(got: Mapping[str, Any], expected: Mapping[str, Any], graph: Graph, what: str) -> int:
    """Compares what both have but codes, which name another of equal values; returns how many values are made."""
    common = [name for name in got if name in expected and graph.values[name].role != "codes"]
    for name in common:
        near(got[name], expected[name], EXACT, f"{what}: {name}")
    return len([name for name in common if name not in graph.sources])


def without_contributions(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what passes may add up in another way: the parts of gradients (`d_conv1.via0`), which are numbered in the
    order of the readers, and the gradients of Flattens, which passes take readers from."""
    graphs = graph, simplify(graph)
    flattened = {gradient_name(node.outputs[0]) for g in graphs for node in g.nodes if isinstance(node.op, Flatten)}
    return {name: each for name, each in values.items() if name not in flattened and not _PART.fullmatch(name)}


# graphs --------------------------------------------------------------------------------------------------------------


def test_passes_keep_every_value(seed: int) -> None:
    given = Given(seed)
    model = given.model
    with told(seed, model):
        written = as_written(model)
        simple = simplify(trace(model))
        training = differentiate(simple, model.optimizer)
        expected = run(written, given.sources(written))
        values = run(training, given.sources(training))
        assert near_where_both(run(simple, given.sources(simple)), expected, simple, "simplify") >= 3
        assert near_where_both(values, expected, training, "differentiate") >= 3
        fused = fuse(training)
        assert near_where_both(run(fused, given.sources(fused)), values, fused, "fuse") >= 3
        plain = differentiate(written, model.optimizer)
        sums = without_contributions(written, run(plain, given.sources(plain)))
        made = near_where_both(sums, values, plain, "differentiate alone")
        assert made >= 2 * len(given.parameters)  # gradients and steps
        written_frozen = frozen(written)
        expected = run(written_frozen, given.sources(written_frozen))
        for name in (EVALUATE, INFER):
            forward = PASSES[name](model)
            assert near_where_both(run(forward, given.sources(forward)), expected, forward, name) >= 1


def test_passes_print_and_are_checked(seed: int) -> None:
    model, rng = network(seed), Random(seed)
    with told(seed, model):
        for name, make in PASSES.items():
            graph = make(model)
            graph.check()
            lines = str(graph).splitlines()
            assert len(lines) > len(graph.nodes), name
            for node in rng.sample(graph.nodes, min(4, len(graph.nodes))):
                refuse(graph, [each for each in graph.nodes if each is not node], f"{name} without {node}")
            pairs = [(node, reader) for node in graph.nodes for out in node.outputs for reader in graph.consumers(out)]
            for first, second in rng.sample(pairs, min(4, len(pairs))):
                swapped = {id(first): second, id(second): first}
                refuse(graph, [swapped.get(id(each), each) for each in graph.nodes], f"{name}: {first} | {second}")


def refuse(graph: Graph, nodes: list[Any], what: str) -> None:
    """Raise AssertionError unless the check refuses these nodes."""
    try:
        graph.with_nodes(nodes).check()
    except ValueError:
        return
    raise AssertionError(f"the check passes {what}")


# gradients -----------------------------------------------------------------------------------------------------------


def test_gradients_are_finite_differences(seed: int) -> None:
    given = Given(seed)
    with told(seed, given.model):
        written = as_written(given.model)
        sources = given.sources(written)
        values = next(given.steps())
        for name in given.parameters:
            gradient = values[gradient_name(name)].reshape(-1)
            for index in chosen(given, name):
                compare_difference(written, sources, name, index, gradient[index])


def chosen(given: Given, name: str) -> list[int]:
    """Some coordinates of a parameter."""
    size = given.parameters[name].size
    return [int(i) for i in given.rng.choice(size, min(2, size), replace=False)]


def compare_difference(graph: Graph, sources: Mapping[str, Any], name: str, index: int, gradient: float) -> None:
    """The mean loss on both sides of a parameter: where the slopes differ, the gradient may lie between them."""
    h = 1e-6

    def loss(step: float) -> float:
        moved = sources[name].copy()
        moved.reshape(-1)[index] += step
        return float(run(graph, {**sources, name: moved})["loss"].sum() / sources["present"])

    below, here, above = (loss(step) for step in (-h, 0.0, h))
    left, right = (here - below) / h, (above - here) / h
    bound = abs(left - right) + 1e-4 * abs(gradient) + 1e-8 * max(abs(here), 1)
    error = abs(gradient - (left + right) / 2)
    assert error <= bound, f"d_{name}[{index}] is {gradient:.6g}; the loss has slopes {left:.6g} and {right:.6g}"


def test_a_wrong_gradient_is_noticed() -> None:
    given = Given(1)
    written = as_written(given.model)
    name = next(iter(given.parameters))
    right = next(given.steps())[gradient_name(name)].reshape(-1)
    index = int(np.abs(right).argmax())
    sources = given.sources(written)
    compare_difference(written, sources, name, index, right[index])
    with pytest.raises(AssertionError, match="the loss has slopes"):
        compare_difference(written, sources, name, index, 1.01 * right[index])


def test_a_wrong_tensor_is_noticed_with_its_seed() -> None:
    model = network(2)
    with pytest.raises(AssertionError, match=r"^dense1: off by 0\.001") as caught, told(2, model):
        near(np.array([1.001, 1.0]), np.ones(2), EXACT, "dense1")
    assert caught.value.__notes__[-1] == "rerun: python -m pytest tests/graph/test_random_networks.py --networks 2:3"


def test_steps_are_pytorchs(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra [torch])")
    from asmgen.peers.torch_peer import TorchPeer

    given = Given(seed)
    with told(seed, given.model):
        peer = TorchPeer(given.model, given.parameters, "float64")
        for values, images, labels, present in zip(
            given.steps(), given.images, given.labels, given.present, strict=True
        ):
            loss = peer.step(peer.inputs(images[:present]), torch.from_numpy(labels[:present]))
            near(values["loss"].sum() / present, float(loss), EXACT, "loss")
            for name, gradient in peer.gradients().items():
                near(values[gradient_name(name)], gradient, EXACT, gradient_name(name))
            for name, value in (peer.parameters() | peer.buffers()).items():
                near(values[next_name(name)], value, EXACT, next_name(name))


# plans ---------------------------------------------------------------------------------------------------------------


def random_policy(seed: int, isa: Isa, *, for_kernels: bool) -> Policy:
    """Decides at random, the same for the same question, what can be: with kernels of the ISA, or interpreted."""

    def rng(*about: object) -> Random:
        return Random(zlib.crc32(repr((seed, *about)).encode()))

    def algorithm(conv: Conv, backward: bool) -> int | None:
        legal = algorithms(conv, isa, backward=backward)
        return rng(conv, backward).choice(legal).tile

    def pixels(conv: Conv, pool: Pool | None) -> bool:
        return rng("pixels").random() < 0.5 and reads_pixels(conv, pool)

    def behind_max_pool(conv: Conv, pool: Pool, has_dx: bool) -> PoolGradients:
        kinds: list[PoolGradients] = ["stored"]
        if not for_kernels or sparse_cycles(conv, pool, has_dx, isa) is not None:
            kinds += ["sparse", "sparse"]
        if pool.is_tiling and (not for_kernels or (conv.x.block == 1 and not has_dx)):
            kinds.append("pooled")
        return rng(conv, pool).choice(kinds)

    def has_codes(conv: Conv, pool: Pool) -> bool:
        return pool.n_positions > MAX_MASKS or rng(conv, pool, "codes").random() < 0.5

    def lanes_of_dense(spec: DenseForward, has_dx: bool) -> DenseLanes:
        by_input, by_output = spec.weights, spec.weights.by_output()
        turned = DenseForwardByOutput(spec.x, by_input, spec.y, spec.bias, spec.act)
        lanes: list[DenseLanes] = ["inputs"]
        if not has_dx and by_output.n_rows % DENSE_QUAD == 0:
            lanes.append("outputs")
        if has_dx and by_input.n_rows % by_input.block == 0 and turned.turned_bytes <= MOST_TURNED_BYTES:
            lanes.append("turned")
        return rng(spec).choice(lanes)

    def sample_parts(conv: Conv) -> int:
        return rng(conv, "sample_parts").choice([n for n in range(1, conv.x.n + 1) if conv.x.n % n == 0])

    return Policy(algorithm, pixels, behind_max_pool, has_codes, lanes_of_dense, sample_parts)


def plan_of(seed: int, model: Model, *, for_kernels: bool = False) -> tuple[Plan, Isa]:
    """The plan for one of the levels, by a random policy."""
    isa = list(ISAS.values())[seed // 2 % len(ISAS)]
    return build_plan(model, isa.lanes(model.dtype), random_policy(seed, isa, for_kernels=for_kernels)), isa


def test_plans_are_the_graph(seed: int) -> None:
    given = Given(seed)
    with told(seed, given.model):
        for policy in range(2):
            plan, _ = plan_of(seed + 6 * policy, given.model)
            reference = Interpreter(plan, given.parameters)
            reference.seed = given.model.seed
            reference.run("derive")
            indices = np.arange(given.model.batch_size)
            for step, values in enumerate(given.steps()):
                present = given.present[step]
                reference.begin_step(given.images[step], indices, given.labels[step], present, given.model.optimizer.lr)
                compare_forward(given, step, reference, values)
                for entry in plan.entries:
                    reference.execute(entry)
                losses, predictions = reference.values["loss"]
                near(losses, values["loss"], EXACT, "losses")
                assert np.array_equal(predictions, values["loss.predictions"])
                compare_tensors(plan, reference, values)
                for name, gradient in reference.gradients().items():
                    near(gradient, values[gradient_name(name)], EXACT, gradient_name(name))
                for name, value in (reference.parameters() | reference.buffers()).items():
                    near(value, values[next_name(name)], EXACT, next_name(name))


def compare_tensors(plan: Plan, reference: Interpreter, values: Mapping[str, Any]) -> None:
    """Tensors that have the name of a value, but for codes."""
    for tensor in plan.tensors:
        got = reference.values.get(tensor.name)
        if tensor.name in values and isinstance(got, np.ndarray) and tensor.layout is not None:
            near(got.reshape(np.shape(values[tensor.name])), values[tensor.name], EXACT, tensor.name)


def compare_forward(given: Given, step: int, reference: Interpreter, values: Mapping[str, Any]) -> None:
    """The programs that only run forward, before the step changes the parameters."""
    reference.run(EVALUATE)
    near(reference.values["loss"][0], evaluated(given, step, values), EXACT, "losses of evaluate")
    reference.run(INFER)
    (name,) = reference.plan.program(INFER).entries[-1].outputs
    expected = inferred(given, step, values)
    near(reference.values[name].reshape(expected.shape), expected, EXACT, "infer")


def inferred(given: Given, step: int, values: Mapping[str, Any]) -> Array:
    """What inference must make in a step, with the parameters and buffers of these values."""
    graph = inference_graph(given.model)
    (result,) = graph.results
    return forward_only(given, graph, step, values)[result]


def evaluated(given: Given, step: int, values: Mapping[str, Any]) -> Array:
    """The losses of an evaluation, likewise."""
    return forward_only(given, evaluation_graph(given.model), step, values)["loss"]


def forward_only(given: Given, graph: Graph, step: int, values: Mapping[str, Any]) -> dict[str, Array]:
    kept = [*given.parameters, *(buffer.name for buffer in graph.buffers)]
    return run(graph, given.sources(graph, step) | {name: values[name] for name in kept})


# kernels -------------------------------------------------------------------------------------------------------------


def test_kernels_are_the_graph(seed: int) -> None:
    given = Given(seed)
    model = given.model
    with told(seed, model):
        plan, isa = plan_of(seed, model, for_kernels=True)
        if reason := lacks(isa.name):
            pytest.skip(reason)
        machine = Machine(plan, isa, emit_plan(plan, isa))
        n_outputs = sum(len(entry.outputs) for entry in plan.entries)
        assert len(list(compare_steps(model, machine, given.parameters, n_steps=2))) >= n_outputs
        for tensor in plan.tensors:  # as new: assembled once
            machine.bytes(tensor.name)[:] = 0
        compare_kernels(given, machine)


def compare_kernels(given: Given, machine: Machine) -> None:
    """Whole steps of the kernels against the graph. In float32, rounding may decide a ReLU, and the gradients behind it
    are others: there it is the losses of every step from the kernels' own parameters that are compared."""
    limit = TOLERANCE[given.model.dtype]
    indices = np.arange(given.model.batch_size)
    machine.set_parameters(given.parameters)
    machine.seed, machine.n_steps = given.model.seed, 0
    graph = training_graph(given.model)
    after: dict[str, Any] = {}
    for step, present in enumerate(given.present):
        sources = given.sources(graph, step) | after
        machine.begin_step(given.images[step], indices, given.labels[step], present, given.hyper(step))
        values = run(graph, sources)
        machine.poison()
        machine.run(INFER)
        (name,) = machine.plan.program(INFER).entries[-1].outputs
        expected = inferred(given, step, sources)
        near(machine.read(name).reshape(expected.shape), expected, limit, "infer", floor=limit / 100)
        machine.poison()
        machine.run(EVALUATE)
        found = machine.losses()
        near(found[0], evaluated(given, step, sources), limit, "losses of evaluate", floor=limit / 100)
        machine.poison()
        for entry in machine.plan.entries:
            machine.execute(entry)
        losses, predictions = machine.losses()
        near(losses, values["loss"], limit, "losses", floor=limit / 100)
        if same_forward(machine.plan):
            assert np.array_equal(losses, found[0])
            assert np.array_equal(predictions, found[1])
        for name, value in machine.parameters().items():
            if machine.plan.dtype == "float64":
                near(value, values[next_name(name)], limit, next_name(name))
        after = next_sources(graph, values)
        after |= {name: value.astype(np.float64) for name, value in machine.parameters().items()}


def same_forward(plan: Plan) -> bool:
    """Whether evaluation has the kernels of the training step, but for the loss, and nothing is dropped out."""
    if any(isinstance(entry.spec, Dropout) for entry in plan.entries):
        return False
    trained = {entry.spec for entry in plan.entries}
    others = [entry.spec for entry in plan.program(EVALUATE).entries if not isinstance(entry.spec, Loss)]
    return all(spec in trained for spec in others)
