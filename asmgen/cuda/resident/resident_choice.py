"""Whether a model trains in one kernel, and on how many blocks: estimated cycles of what fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asmgen.cuda.resident.resident import PARAMETERS, Buffer, Layer, Product, Refusal, Resident
from asmgen.plan import specs
from asmgen.plan.layout import ELEMENT_BYTES, DenseWeights, round_up
from asmgen.plan.plan import Plan
from asmgen.plan.specs import Activation, DenseBackwardWeightsStep, LoadInput, Loss

CLUSTERS = (1, 2, 4, 8, 16)  # 16 is more than every GPU must have: launches ask for it (sm_90)
CLUSTER_ARCH = 90
SHARED_BYTES = {80: 163 * 1024, 86: 99 * 1024, 89: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024, 120: 99 * 1024}
MAX_BATCH = 512  # a thread a sample
_TILE = 8  # columns of a product's tile
_MOST_WARPS = 16
_MOST_ACROSS = 4  # tiles of a task; with 16 warps and two states, more do not fit the registers

# Cycles, estimated for an H100.
_MMA = {"tf32x3": 27, "tf32": 9, "dmma": 16}  # of a quarter of a multiprocessor, with reading the operands
_MMA_LATENCY = {"tf32x3": 75, "tf32": 40, "dmma": 40}  # of one k after another, with reading the operands
_BLOCK_BARRIER, _CLUSTER_BARRIER = 40, 450
_EXCHANGED_BYTES = 16  # a cycle, of a multiprocessor
_STATE_BYTES = 32  # a cycle, of a multiprocessor, from L2 and back
_LAUNCH = 4500  # of a kernel in a graph that does little: the gap before it, its start, its latencies


def decide(plan: Plan, arches: tuple[str, ...], precision: str) -> Resident | Refusal:
    """The cluster with the fewest estimated cycles, among those that a GPU of `arches` (sm_80, ...) can run.

    With the states of weights in shared memory, where they fit: that saves their way from L2 and back.
    """
    shape = _read(plan)
    if isinstance(shape, Refusal):
        return shape
    arithmetic = "dmma" if plan.dtype == "float64" else "tf32" if precision == "tf32" else "tf32x3"
    places = (False, True) if shape.update.update.n_states else (False,)
    found = [_resident(plan, shape, cluster, arithmetic, keeps) for keeps in places for cluster in CLUSTERS]
    fitting = [resident for resident in found if any(_holds(arch, resident) for arch in arches)]
    if not fitting:
        needs = " or ".join(
            f"{resident.shared_bytes:,} on {resident.cluster}" for resident in (found[0], found[len(CLUSTERS) - 1])
        )
        return Refusal(f"no GPU of {', '.join(arches)} has the shared memory a block: {needs} blocks")
    best = min(fitting, key=lambda resident: resident.cycles)
    launches = sum(entry.phase != "derive" for entry in plan.entries)
    if best.cycles > launches * _LAUNCH:
        return Refusal(f"{best.cycles:,} cycles a step are more than {launches} launches take")
    return best


def _holds(arch: str, resident: Resident) -> bool:
    """Whether GPUs of `arch` have such clusters, with the shared memory."""
    number = int(arch.removeprefix("sm_").rstrip("af"))
    limit = SHARED_BYTES[max(known for known in SHARED_BYTES if known <= number)]
    return resident.shared_bytes <= limit and (resident.cluster == 1 or number >= CLUSTER_ARCH)


@dataclass(frozen=True)
class _Shape:
    """What the plan says: layers with their activations, and the ends of a step."""

    load: LoadInput
    layers: tuple[tuple[specs.DenseForward, str, str, Activation, int], ...]  # spec, weights, label, act, number
    loss: Loss
    update: DenseBackwardWeightsStep  # a layer's: what they have in common


def _read(plan: Plan) -> _Shape | Refusal:
    layers: list[tuple[specs.DenseForward, str, str, Activation, int]] = []
    number = 0  # of what is computed between the input and the loss
    ends: dict[type, LoadInput | Loss] = {}
    for entry in plan.phase("forward"):
        number += not isinstance(entry.spec, LoadInput | Loss)
        match entry.spec:
            case LoadInput() | Loss() as spec:
                ends[type(spec)] = spec
            case specs.DenseForward() as spec:
                assert entry.args[1] is not None
                layers.append((spec, entry.args[1], entry.layer, spec.act, number))
            case specs.ActForward(act=act) if layers and not layers[-1][3]:
                layers[-1] = (*layers[-1][:3], act, layers[-1][4])
            case _:
                return Refusal(f"{entry.layer} is more than dense layers with one activation each")
    load, loss = ends[LoadInput], ends[Loss]
    assert isinstance(load, LoadInput)
    assert isinstance(loss, Loss)
    if stored := [block.label for block in plan.parameters if block.stores_gradient]:
        return Refusal(f"the gradients of {stored[0]} are stored")
    update = next(entry.spec for entry in plan.phase("backward") if isinstance(entry.spec, DenseBackwardWeightsStep))
    unseen = [act.kind for *_, act, _ in layers if act.traits.slope_from == "x"]
    if unseen:
        return Refusal(f"the slope of {unseen[0]} is found from its input, which is not kept")
    if loss.class_weights:
        return Refusal("the loss's mean is over the weights of all labels of the batch")
    if layers[-1][3]:
        return Refusal("there is an activation in front of the loss")
    if plan.batch > MAX_BATCH:
        return Refusal(f"a batch of {plan.batch} is more than {MAX_BATCH} samples")
    return _Shape(load, tuple(layers), loss, update)


def _resident(plan: Plan, shape: _Shape, cluster: int, arithmetic: str, keeps_states: bool) -> Resident:
    rows = 8 if plan.dtype == "float64" else 16  # of a tile
    samples = round_up(plan.batch, rows)
    read_states = 0 if keeps_states else shape.update.update.n_states
    layers = tuple(
        _layer(plan, what, cluster, samples, rows, is_first=number == 0) for number, what in enumerate(shape.layers)
    )
    most_tasks = max(p.tasks for layer in layers for p in (layer.forward, layer.backward, layer.weights))
    warps = max(4, -(-samples // 32), min(_MOST_WARPS, round_up(most_tasks, 4)))
    buffers = _place(_exchanged(layers, cluster, samples))
    cycles = _cycles(plan, layers, cluster, warps, samples, arithmetic, read_states)
    distances = tuple(distance // ELEMENT_BYTES[plan.dtype] for distance in shape.update.state_bytes)
    return Resident(
        plan=plan,
        load=shape.load,
        loss=shape.loss,
        update=shape.update.update,
        states=distances,
        keeps_states=keeps_states,
        arithmetic=arithmetic,
        cluster=cluster,
        warps=warps,
        samples=samples,
        layers=layers,
        buffers=buffers,
        cycles=cycles,
    )


def _layer(
    plan: Plan,
    what: tuple[specs.DenseForward, str, str, Activation, int],
    cluster: int,
    samples: int,
    rows: int,
    is_first: bool,
) -> Layer:
    spec, name, label, act, number = what
    weights: DenseWeights = spec.weights
    columns = spec.x.features if is_first else round_up(spec.x.features, rows)
    part = round_up(-(-columns // cluster), _TILE)
    padded = round_up(weights.out, rows)
    at = (plan.offsets[name] - plan.offsets[PARAMETERS]) // weights.element_bytes
    return Layer(
        number=number,
        label=label,
        inputs=spec.x.features,
        outputs=weights.out,
        row=weights.inputs.stride,
        weights_at=at,
        bias_at=at + weights.bias_offset_bytes // weights.element_bytes if spec.bias else None,
        act=act,
        slice=part,
        padded=padded,
        forward=_product(samples // rows, padded // _TILE, part),
        backward=_product(0 if is_first else samples // rows, part // _TILE, padded),
        weights=_product(padded // rows, part // _TILE, samples),
    )


def _product(row_tiles: int, column_tiles: int, depth: int) -> Product:
    """The tiles of a task that leave the busiest warp the least work; a row's operands cost about a tile."""
    widths = range(1, min(_MOST_ACROSS, column_tiles) + 1)
    products = [Product(row_tiles, column_tiles, depth, across) for across in widths]
    return min(products, key=lambda product: -(-product.tasks // _MOST_WARPS) * (product.across + 1))


def _exchanged(layers: tuple[Layer, ...], cluster: int, samples: int) -> Iterator[Buffer]:
    """Phases: forward of layer 1 .. n, loss, backward of layer n .. 1. What one of them writes, the next one reads."""
    n = len(layers)
    for phase, layer in enumerate(layers, start=1):
        own = layers[phase].slice * samples if phase < n else layer.padded * -(-samples // cluster)
        yield Buffer(f"sums{layer.number}", cluster * own, phase, phase + 1)
        back = 2 * n + 1 - (phase - 1)  # the phase that reads the gradients of the layer's outputs
        yield Buffer(f"dz{layer.number}", samples * layer.gradient_stride, back - 1, back)


def _place(buffers: Iterator[Buffer]) -> tuple[Buffer, ...]:
    """Offsets such that buffers that live in one phase do not overlap: the largest first, each as low as it fits."""
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.size):
        others = [other for other in placed if other.begin <= buffer.end and buffer.begin <= other.end]
        candidates = [0, *(round_up(other.at + other.size, 16) for other in others)]
        at = min(
            at
            for at in candidates
            if all(at + buffer.size <= other.at or other.at + other.size <= at for other in others)
        )
        placed.append(Buffer(buffer.name, buffer.size, buffer.begin, buffer.end, at))
    return tuple(sorted(placed, key=lambda buffer: buffer.begin))


def _cycles(
    plan: Plan, layers: tuple[Layer, ...], cluster: int, warps: int, samples: int, arithmetic: str, read_states: int
) -> int:
    size, step = ELEMENT_BYTES[plan.dtype], 4 if arithmetic == "dmma" else 8
    cycles = 0.0
    for layer in layers:
        for product in (layer.forward, layer.backward, layer.weights):
            instructions = product.row_tiles * product.column_tiles * product.depth // step
            trips = -(-product.tasks // warps)
            cycles += max(instructions * _MMA[arithmetic] / 4, trips * product.depth // step * _MMA_LATENCY[arithmetic])
        if cluster > 1:
            cycles += 2 * samples * layer.padded * size / _EXCHANGED_BYTES
        cycles += 2 * read_states * layer.padded * layer.slice * size / _STATE_BYTES
    barriers = 2 * len(layers) + 1
    return round(cycles + barriers * (_CLUSTER_BARRIER if cluster > 1 else _BLOCK_BARRIER))
