"""Plans hold together for any vector width; memory is shared only between tensors that never meet."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from networks import EVERY_NETWORK, make, second_reader

from asmgen import Add, Concat, Conv2D, Dense, Flatten, GlobalAvgPool, Input, MaxPool2D, ReLU, Sigmoid, Tanh
from asmgen.graph.differentiate import differentiate, gradient_name
from asmgen.graph.fuse import fuse
from asmgen.graph.graph import Node
from asmgen.graph.regions import DenseGradient
from asmgen.graph.simplify import simplify
from asmgen.model.load import load_model
from asmgen.model.trace import trace
from asmgen.ops.step import Accumulate, Step
from asmgen.plan import specs
from asmgen.plan.build import build_plan
from asmgen.plan.layout import Image, Rows
from asmgen.plan.plan import EVALUATE, INFER, TRAIN
from asmgen.plan.policy import Policy
from asmgen.plan.specs import Pool
from asmgen.plan.specs.base import fused_words
from asmgen.tile.input.pixel_strip import reads_pixels

MODELS = ["catdog", "mnist_mlp", "mnist_sigmoid", "lenet", "vgg_small"]


POLICIES = [Policy(reads_pixels=reads_pixels), Policy(), Policy(reads_pixels=reads_pixels, dense_steps="stored")]


def plans():
    for name in MODELS:
        yield name, load_model(f"models/{name}.py")
    for name, (layers, outputs) in EVERY_NETWORK.items():
        yield name, make(layers, outputs)


@pytest.mark.parametrize("policy", POLICIES, ids=["reads pixels", "stores the input", "stores dense gradients"])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize(("name", "model"), list(plans()), ids=lambda value: value if isinstance(value, str) else "")
def test_plan_checks_and_shares_memory_safely(name, model, lanes, policy):
    plan = build_plan(model, lanes, policy)  # Plan.check
    # Independently of Plan.check: follow who wrote each byte range last, and who reads it.
    holder: dict[str, str] = {}
    spans = {t.name: (plan.offsets[t.name], plan.offsets[t.name] + t.size_bytes) for t in plan.tensors}
    for entry in plan.entries:
        for name_ in entry.inputs:
            assert holder.get(name_, name_) == name_, f"{entry.text} reads {name_}, overwritten by {holder[name_]}"
        for name_ in entry.outputs:
            holder[name_] = name_
            for other, (begin, end) in spans.items():
                if other != name_ and begin < spans[name_][1] and spans[name_][0] < end:
                    inside = {name_, other} & {*plan.parts, *(part for parts in plan.parts.values() for part in parts)}
                    holder[other] = other if inside else name_


def test_owned_tensors_share_with_nobody():
    plan = build_plan(load_model("models/catdog.py"), 16)
    owned = sorted((plan.offsets[t.name], t.size_bytes, t.name) for t in plan.tensors if t.owned)
    inner = {part for parts in plan.parts.values() for part in parts} | {t.name for t in plan.tensors if t.home}
    apart = [t for t in owned if t[2] not in inner]
    for (begin, size, name), (following, _, other) in pairwise(apart):
        assert begin + size <= following, (name, other)


def test_check_finds_a_tensor_read_before_it_is_written():
    plan = build_plan(load_model("models/mnist_mlp.py"), 8)
    entries = list(plan.entries)
    at = next(at for at, entry in enumerate(entries) if entry.text == "dense_dx")
    with pytest.raises(ValueError, match="no tensor|nothing has made it|lies there"):
        plan.with_entries((*entries[at + 1 :], *entries[: at + 1])).check()


def dependent(plan, earlier, later):
    """Whether one of two entries makes what the other reads, or overwrites what the other touches."""
    spans = plan.spans

    def meet(names, others):
        return any(spans[a][0] < spans[b][1] and spans[b][0] < spans[a][1] for a in names for b in others)

    first, second = (earlier.inputs, earlier.outputs), (later.inputs, later.outputs)
    return meet(first[1], second[0] + second[1]) or meet(second[1], first[0])


@pytest.mark.parametrize("dense_steps", ["fused", "stored"])
@pytest.mark.parametrize(("name", "model"), list(plans()), ids=lambda value: value if isinstance(value, str) else "")
def test_any_swap_of_two_dependent_entries_is_refused(name, model, dense_steps):
    """Every value is made once, so an order is right or a value is missing when it is read."""
    plan = build_plan(model, 4, Policy(dense_steps=dense_steps))
    swaps = 0
    for at, (earlier, later) in enumerate(pairwise(plan.entries)):
        swapped = [*plan.entries[:at], later, earlier, *plan.entries[at + 2 :]]
        mutant = plan.with_entries(swapped)
        if dependent(plan, earlier, later):
            swaps += 1
            with pytest.raises(ValueError, match="reads"):
                mutant.check()
        else:
            mutant.check()
    assert swaps >= 3


def test_a_gradient_in_place_moved_behind_its_reader_is_refused():
    plan = build_plan(load_model("models/catdog.py"), 8)
    entries = list(plan.entries)
    at = next(at for at, entry in enumerate(entries) if entry.text == "act_bwd+relu" and entry.layer == "conv3")
    reader = next(n for n in range(at + 1, len(entries)) if entries[at].outputs[0] in entries[n].inputs)
    moved = [*entries[:at], *entries[at + 1 : reader + 1], entries[at], *entries[reader + 1 :]]
    with pytest.raises(ValueError, match=r"reads d_pool3"):
        plan.with_entries(moved).check()


def test_check_finds_weights_read_after_their_update():
    plan = build_plan(load_model("models/mnist_mlp.py"), 8)
    entries = list(plan.entries)
    at = next(at for at, entry in enumerate(entries) if entry.text == "dense_dx")
    entries[at], entries[at + 1] = entries[at + 1], entries[at]
    with pytest.raises(ValueError, match=r"dense_dx: reads dense\d\.w, but dense\d\.w\.next lies there"):
        plan.with_entries(entries).check()


def test_check_finds_a_state_that_is_elsewhere():
    plan = build_plan(load_model("models/mnist_mlp.py"), 8)
    broken = dataclasses.replace(plan, offsets=plan.offsets | {"dense1.m.next": plan.offsets["dense1.m"] + 64})
    with pytest.raises(ValueError, match=r"states of dense1\.w do not lie"):
        broken.check()


def test_gradients_are_stored_for_convolutions_only():
    plan = build_plan(load_model("models/catdog.py"), 16)
    assert list(plan.parts["grads"]) == ["d_conv1.w", "d_conv2.w", "d_conv3.w"]
    assert len(plan.phase("update")) == 1
    assert not build_plan(load_model("models/mnist_mlp.py"), 16).phase("update")


def test_dense_gradients_are_stored_where_that_is_wanted():
    plan = build_plan(load_model("models/catdog.py"), 16, Policy(dense_steps="stored"))
    labels = ["conv1", "conv2", "conv3", "dense1", "dense2"]
    assert list(plan.parts["params"]) == [f"{label}.w" for label in labels]
    assert list(plan.parts["grads"]) == [f"d_{label}.w" for label in labels]
    assert len(plan.phase("update")) == 1
    assert "dense_w" not in plan.offsets
    assert sum(entry.spec.op == "dense_dw" for entry in plan.entries) == 2
    assert not any(isinstance(spec, specs.DenseBackwardWeightsStep) for spec in plan.specs())


def test_a_dense_gradient_that_something_else_reads_is_stored_alone(monkeypatch):
    """The states of the layers with fused steps lie where their specs say, as if the other were not there."""
    monkeypatch.setattr("asmgen.plan.build.training_graph", second_reader("3.weight"))
    plan = build_plan(load_model("models/mnist_mlp.py"), 16)
    assert list(plan.parts["grads"]) == ["d_dense2.w"]
    assert [block.label for block in plan.parameters if not block.stores_gradient] == ["dense1", "dense3", "dense4"]
    fused = {
        entry.layer: entry.spec for entry in plan.entries if isinstance(entry.spec, specs.DenseBackwardWeightsStep)
    }
    assert list(fused) == ["dense4", "dense3", "dense1"]
    (distances,) = {spec.state_bytes for spec in fused.values()}
    assert distances[0] < sum(plan.tensor(f"dense{n}.w").size_bytes for n in (1, 2, 3, 4))
    (update,) = plan.phase("update")
    assert update.spec.n_vectors * 64 == plan.tensor("params").size_bytes


def test_a_dense_step_is_fused_unless_something_else_reads_a_gradient():
    """One more reader of a weight's gradient, and neither that step nor its bias's is in the region."""
    model = load_model("models/mnist_mlp.py")
    graph = differentiate(simplify(trace(model)), model.optimizer)

    def steps(graph, **options):
        nodes = [node for node in fuse(graph, **options).nodes if isinstance(node.op, DenseGradient)]
        return {node.label: len(node.op.steps) for node in nodes}

    assert steps(graph) == {f"dense{n}": 2 for n in (4, 3, 2, 1)}
    assert steps(graph, fuses_steps=False) == {f"dense{n}": 0 for n in (4, 3, 2, 1)}
    for parameter in ("3.weight", "3.bias"):
        name = gradient_name(parameter)
        at = next(at for at, node in enumerate(graph.nodes) if isinstance(node.op, Step))
        reader = Node(Accumulate(), (name, name), ("twice",), "clip", "")
        read = dataclasses.replace(graph, nodes=(*graph.nodes[:at], reader, *graph.nodes[at:]), results=("twice",))
        read = read.with_nodes(read.nodes, {"twice": dataclasses.replace(graph.values[name], name="twice")})
        assert steps(read) == {"dense4": 2, "dense3": 2, "dense2": 0, "dense1": 2}


@pytest.mark.parametrize("name", MODELS)
def test_the_plan_prints_the_op_of_each_kernel(name):
    plan = build_plan(load_model(f"models/{name}.py"), 8, Policy(reads_pixels=reads_pixels))
    lines = [line[9:].split()[0] for line in str(plan).splitlines()[1:]]
    assert [text.split("+")[0] for text in lines] == [entry.spec.op for entry in plan.all_entries]


def test_catdog_is_the_documented_plan():
    texts = [entry.text for entry in build_plan(load_model("models/catdog.py"), 16).phase("forward")]
    fused = "conv2d_fwd+bias+relu+maxpool2"
    assert texts == ["load_input", fused, fused, fused, "dense_fwd+bias+relu", "dense_fwd+bias", "loss_bce"]


@pytest.mark.parametrize("name", MODELS)
def test_convolutions_read_the_pixels_and_dense_layers_a_copy(name):
    model = load_model(f"models/{name}.py")
    plan = build_plan(model, 8, Policy(reads_pixels=reads_pixels))
    reads_images = isinstance(model.layers[0], Conv2D)
    readers = [entry.spec.op for entry in plan.entries if ("pixels" if reads_images else "input") in entry.inputs]
    if reads_images:
        assert "input" not in plan.offsets
        assert len(readers) == 2
    else:
        assert readers == ["dense_fwd", f"dense_dw_{plan.optimizer().kind}"]


def test_no_gradient_below_the_first_weights():
    plan = build_plan(load_model("models/catdog.py"), 16)
    assert "d_input" not in plan.offsets
    assert sum(entry.spec.op == "conv2d_dx_sparse" for entry in plan.entries) == 2


def test_max_pool_then_relu_is_the_same_fusion():
    before = build_plan(make([Conv2D(3, 3), ReLU(), MaxPool2D(2), Flatten()], 2), 4)
    behind = build_plan(make([Conv2D(3, 3), MaxPool2D(2), ReLU(), Flatten()], 2), 4)
    assert [entry.spec for entry in before.entries] == [entry.spec for entry in behind.entries]


@pytest.mark.parametrize("pool", [MaxPool2D(4), MaxPool2D(3, 2), MaxPool2D(2, 3), MaxPool2D(6, 5)])
def test_any_max_pool_behind_a_convolution_belongs_to_it(pool):
    """Forward it is a kernel of its own, on what the activation left; the gradients come from live entries."""
    plan = build_plan(make([Conv2D(3, 1), Conv2D(3, 3), ReLU(), pool, Flatten()], 2), 8)
    (word,) = fused_words(pool=Pool("max", *pool.window, *pool.stride))
    assert [entry.text for entry in plan.phase("forward")][2:4] == ["conv2d_fwd+bias+relu", f"pool_fwd+{word}"]
    backward = [entry.spec.op for entry in plan.phase("backward")]
    assert {"act_bwd", "live_entries", "conv2d_dw_sparse", "conv2d_dx_sparse"} <= set(backward)
    assert "d_conv2.z" not in plan.offsets
    assert not [entry for entry in plan.entries if isinstance(entry.spec, specs.PoolBackward)]


def test_a_stored_gradient_behind_overlapping_windows():
    """The activation's gradient is taken on the pooled values."""
    layers = [Conv2D(3, 1), Conv2D(3, 3), ReLU(), MaxPool2D(3, 2), Flatten()]
    plan = build_plan(make(layers, 2), 8, Policy(behind_max_pool=lambda conv, pool, has_dx: "stored"))
    texts = [entry.text for entry in plan.phase("backward") if entry.layer == "conv2"]
    assert texts == ["act_bwd+relu", "pool_bwd+maxpool3s2", "conv2d_dx", "conv2d_dw+bias"]


@pytest.mark.parametrize(
    ("first", "texts"),
    [
        ([MaxPool2D(2)], ["pool_fwd+maxpool2"]),
        ([Sigmoid()], ["act_fwd+sigmoid"]),
        ([ReLU(), MaxPool2D(2), Tanh()], ["act_fwd+relu", "pool_fwd+maxpool2", "act_fwd+tanh"]),
    ],
)
def test_a_pool_or_an_activation_on_the_input_reads_blocks_of_channels(first, texts):
    """No gradient reaches them."""
    plan = build_plan(make([*first, Conv2D(3, 3), Flatten()], 2), 8)
    load, *rest = plan.phase("forward")
    assert isinstance(load.spec, specs.LoadInput)
    assert load.spec.dst.block == 8
    assert [entry.text for entry in rest][: len(texts)] == texts
    assert not any(isinstance(s, specs.PoolBackward | specs.ActBackward | specs.Conv2dUnpool) for s in plan.specs())


@pytest.mark.parametrize("first", [ReLU(), MaxPool2D(2)], ids=lambda layer: layer.kind)
def test_every_program_makes_the_input_that_it_reads(first):
    """In blocks of channels it owns no memory, so that each program has its own."""
    plan = build_plan(make([first, Conv2D(3, 3), Flatten()], 2), 4)  # Plan.check
    for program in plan.programs:
        loaded = next(entry for entry in program.entries if isinstance(entry.spec, specs.LoadInput))
        assert any(loaded.outputs[0] in entry.inputs for entry in program.entries), program.name


@pytest.mark.parametrize("layers", [[Conv2D(3, 3), MaxPool2D(3, 2)], [Conv2D(3, 3), Sigmoid(), MaxPool2D(2, 3)]])
def test_pools_write_codes_where_a_gradient_reads_them(layers):
    plan = build_plan(make([*layers, Flatten()], 2), 4)
    for program in plan.programs:
        (pool,) = (entry for entry in program.entries if isinstance(entry.spec, specs.PoolForward))
        assert pool.spec.has_codes == (program.name == TRAIN)
        assert (pool.args[2] is not None) == pool.spec.has_codes


def test_probabilities_lie_as_what_they_are_made_of():
    """Rows that are a view of an image are larger than plain ones, and in its order."""
    model = dataclasses.replace(make([], 1, "softmax_ce"), layers=[Conv2D(3, 3), MaxPool2D(4), Flatten()])
    plan = build_plan(model, 16)
    (*_, last) = plan.program(INFER).entries
    assert isinstance(last.spec, specs.Probabilities)
    (p,) = last.outputs
    assert plan.tensor(p).layout == last.spec.z
    assert plan.tensor(p).size_bytes == last.spec.z.size_bytes


def ends_in(y):
    """A network of calls."""
    return dataclasses.replace(make([Flatten()], 2), layers=(), input=(2, 11, 10), output=y)


def branched(join, *ends):
    """A network whose image is flattened, read by `ends`, and joined."""
    image = Conv2D(3, 3)(Input(2, 11, 10))
    flat = Flatten()(image)
    return ends_in(Dense(2)(join(*(end(flat) for end in ends))))


def test_a_flattened_image_may_be_read_several_times():
    """Its activations work on the image, and what is added up to its gradient lies as the image does."""
    plan = build_plan(branched(Add(), Dense(4), lambda x: Dense(4)(Tanh()(x)), Dense(4)), 16)
    total = next(entry for entry in plan.entries if isinstance(entry.spec, specs.Add) and entry.phase == "backward")
    assert all(isinstance(layout, Image) for layout in (total.spec.a, total.spec.b, total.spec.y))
    (tanh,) = (entry.spec for entry in plan.phase("forward") if isinstance(entry.spec, specs.ActForward))
    assert isinstance(tanh.x, Image)


def copies(plan):
    """The copies of images in the order of vectors, by program."""
    kinds = specs.InOrderForward | specs.InOrderBackward
    return {
        program.name: [entry.text for entry in program.entries if isinstance(entry.spec, kinds)]
        for program in plan.programs
    }


def test_a_flattened_image_is_copied_where_it_meets_other_vectors():
    """Once, whoever reads it; dense layers and activations read the image."""
    plan = build_plan(branched(Add(), lambda x: x, Dense(3 * 9 * 8)), 16)
    forward = ["in_order_fwd"]
    assert copies(plan) == {TRAIN: [*forward, "in_order_bwd"], EVALUATE: forward, INFER: forward}
    plan = build_plan(branched(Concat(), lambda x: x, Dense(5), Tanh(), lambda x: Add()(x, Dense(216)(x))), 4)
    assert copies(plan)[TRAIN] == ["in_order_fwd", "in_order_fwd", "in_order_bwd", "in_order_bwd"]


def test_flattened_images_of_two_sizes_are_copied():
    image = Conv2D(3, 3)(Input(2, 11, 10))
    flat, small = Flatten()(image), Flatten()(MaxPool2D(2)(image))
    plan = build_plan(ends_in(Dense(2)(Concat()(flat, small, GlobalAvgPool()(image)))), 16)
    assert copies(plan)[INFER] == ["in_order_fwd", "in_order_fwd"]


def test_an_input_that_is_only_flattened_lies_as_a_vector():
    x = Input(2, 11, 10)
    flat = Flatten()(x)
    plan = build_plan(ends_in(Dense(2)(Concat()(flat, Dense(5)(flat)))), 16)
    assert not any(copies(plan).values())
    assert plan.tensor("input").layout == Rows(6, 220, 16, "float64")


def test_a_sum_is_not_made_over_an_image_that_is_flattened_later():
    """By a copy, since it has a halo. Plan.check of all programs."""
    image = Conv2D(4, 3, padding=1)(Input(2, 11, 10))
    total = Add()(image, Conv2D(4, 3, padding=1)(image))
    behind = Dense(3)(Flatten()(Conv2D(4, 3, padding=1)(total)))
    build_plan(ends_in(Dense(2)(Add()(behind, Dense(3)(Flatten()(image))))), 8)
