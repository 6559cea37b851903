"""Model -> Graph: walks the layers of a model, checks that they fit together, and names every value and parameter."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from asmgen.errors import ModelError
from asmgen.graph.differentiate import next_name
from asmgen.graph.graph import Graph, Node, Value
from asmgen.model.network import Model
from asmgen.model.params import read_initial
from asmgen.ops.base import Buffer, Layer, Op, Parameter, Role, Shape, Site, dims
from asmgen.ops.batch_norm import BatchNorm, values_of_sample
from asmgen.ops.load_input import LoadInput
from asmgen.ops.softmax import Softmax
from asmgen.ops.symbol import Input, Symbol

MAX_CLASSES = 256  # labels are bytes
IMAGES, INPUT, LABELS, PRESENT, RANDOM = "images", "input", "labels", "present", "random"
_LARGEST = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}


#: Names of tensors of a plan beside those of layers; first words of such names; last ones.
_WORDS = frozenset(
    (
        *("images", "input", "labels", "present", "loss", "hyper", "indices", "pixels", "params", "grads", "state"),
        *("random", "probabilities", "dense_w", "dense_m", "dense_v", "evaluate", "infer"),
    )
)
_FIRST = frozenset(("evaluate", "infer", "loss"))
_LAST = frozenset(
    (
        *("weight", "bias", "w", "m", "v", "z", "y", "image", "codes", "predictions", "next", "live", "parts"),
        *("u", "u_dx", "w_fwd", "w_dx", "in_order", "moments", "terms", "running"),
        *("mean", "var", "running_mean", "running_var", "num_batches_tracked"),
    )
)


def _reserved(name: str) -> str | None:
    """The word in a layer's name that plans use for tensors of their own; None where there is none."""
    first, *_, last = name.split(".") if "." in name else (name, "")
    if name in _WORDS or first in _FIRST:
        return repr(first)
    if name.startswith("d_"):
        return "'d_'"
    if last in _LAST or re.fullmatch(r"(sum|part|via)\d+", last):
        return repr(f".{last}")
    return None


def _plain(name: str) -> str:
    """A name as C has it."""
    return name.replace(".", "_")


class Tracer:
    """Collects the nodes of a model. A value is known by its name; `input` is the network's."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes: list[Node] = []
        self.parameters: list[Parameter] = []
        self.buffers: list[Buffer] = []
        self.updates: dict[str, str] = {}
        self._keepers: list[Node] = []
        self._placed: dict[int, str] = {}  # id of a layer with parameters -> what begins their names
        self._labels: set[str] = set()
        self._numbers: Counter[str] = Counter()  # of labels that are a kind and a number
        self.values: dict[str, Value] = {
            IMAGES: Value(IMAGES, model.input, "images"),
            LABELS: Value(LABELS, (), "labels"),
            PRESENT: Value(PRESENT, (), "hyper"),
            RANDOM: Value(RANDOM, (2,), "hyper"),
        }
        self._seen: Counter[str] = Counter()
        self._behind_pool: dict[str, bool] = {}
        scale, shift = zip(*model.data.affine(model.input[0]), strict=True)
        self.input = self._node(LoadInput(scale, shift), (IMAGES,), INPUT, model.where)[0]

    def layer(self, layer: Layer, inputs: Sequence[str], path: str | None, written: Layer | None = None) -> str:
        """The value that a layer makes. path: begins its parameters' names; None: its label does.

        written: the layer of the model file that this one stands for; None: itself.

        Raises ModelError where it does not fit.
        """
        label = self.label(layer)
        behind_pool = self._behind_pool.get(inputs[0], False)
        site = Site(label, layer.where, label if path is None else path, behind_pool)
        if _plain(label) in {_plain(name) for name in self.values}:
            raise site.error("a tensor of another layer is called so; choose another name=")
        shapes = [self.values[name].shape for name in inputs]
        layer.out_shapes(site, *shapes)
        parameters = layer.parameters(site, *shapes)
        written = layer if written is None else written
        if parameters and self._placed.setdefault(id(written), site.prefix) != site.prefix:
            raise written.error(
                f"stands in two places, {self._placed[id(written)]} and {site.prefix}; its parameters belong to one, "
                "so make a second layer"
            )
        self.parameters += parameters
        for parameter in parameters:
            if parameter.name in self.values:
                raise site.error(f"a second parameter is called {parameter.name}; choose another name=")
            self.values[parameter.name] = Value(parameter.name, parameter.shape, "parameter")
        given = (PRESENT,) * layer.reads_present + (RANDOM,) * layer.reads_random
        read = (*inputs, *(parameter.name for parameter in parameters), *given)
        y, *more = self._node(layer, read, label, layer.where)
        self._behind_pool[y] = layer.kind == "pool" if layer.slides else behind_pool
        if buffers := layer.buffers(site, *shapes):
            self._keep(layer.next_buffers(*shapes), buffers, more)
        return y

    def _keep(self, op: Op, buffers: Sequence[Buffer], found: Sequence[str]) -> None:
        """The node that makes the next step's buffers of what their layer found."""
        self.buffers += buffers
        outputs = tuple(next_name(buffer.name) for buffer in buffers)
        for buffer, after in zip(buffers, outputs, strict=True):
            for name in (buffer.name, after):
                self.values[name] = Value(name, buffer.shape, "buffer")
            self.updates[buffer.name] = after
        read = (*found, PRESENT, *(buffer.name for buffer in buffers))
        self._keepers.append(Node(op, read, outputs, buffers[0].label, buffers[0].where))

    def count(self, kind: str) -> int:
        """Layers of a kind so far."""
        return self._seen[kind]

    def shape(self, value: str) -> Shape:
        """Of a value."""
        return self.values[value].shape

    def label(self, layer: Layer) -> str:
        """What a layer is called: its name, or its kind and number. Raises ModelError for a name that cannot be."""
        self._seen[layer.kind] += 1
        label = layer.name
        while label is None or (layer.name is None and _plain(label) in self._labels):
            self._numbers[layer.kind] += 1
            label = f"{layer.kind}{self._numbers[layer.kind]}"
        if layer.name is not None:
            self._check_name(layer, label)
        self._labels.add(_plain(label))
        return label

    def _check_name(self, layer: Layer, name: str) -> None:
        """Raise ModelError unless a layer's own name can be."""
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
            raise layer.error(f"name={name!r} must be letters, digits and '_', in parts joined by '.'")
        if word := _reserved(name):
            raise layer.error(f"name={name!r}: plans use {word} for tensors of their own; choose another name")
        if _plain(name) in self._labels:
            raise layer.error(f"name={name!r} is what another layer is called, by its name= or its kind and number")

    def sequence(self, layers: Iterable[Layer], x: str, path: str = "") -> str:
        """The value that layers one behind the other make of x; parameters are named as nn.Sequential's."""
        for index, layer in enumerate(layers):
            place = f"{path}.{index}" if path else str(index)
            if layer.name is not None:
                raise layer.error(
                    f"name={layer.name!r} in a list, where its place names a layer's parameters: {place}.weight; leave "
                    "it out, or write the model as calls"
                )
            x = layer.trace(self, x, place)
        return x

    def loss(self, z: str) -> tuple[str, ...]:
        """The outputs of the model's loss, the last node, behind those that make the next step's buffers."""
        self.nodes += self._keepers
        return self._node(self.model.loss, (z, LABELS, PRESENT), "loss", self.model.loss.where)

    def _node(self, op: Op, inputs: tuple[str, ...], label: str, where: str) -> tuple[str, ...]:
        shapes = op.out_shapes(Site(label, where), *(self.values[name].shape for name in inputs))
        outputs: list[tuple[str, Role]] = [(label, op.role)]
        outputs += [(f"{label}.{name}", role) for name, role in op.more_outputs]
        for (name, role), shape in zip(outputs, shapes, strict=True):
            self.values[name] = Value(name, shape, role)
        names = tuple(name for name, _ in outputs)
        self.nodes.append(Node(op, inputs, names, label, where))
        return names


def trace(model: Model) -> Graph:
    """The graph from the images to the loss, as the model file has it, after checking the whole model.

    Raises ModelError at the line of the layer (or of the model) that does not fit.
    """
    model.data.check_channels(model.input[0])
    tracer = Tracer(model)
    output = model.output
    z = tracer.sequence(model.layers, tracer.input) if output is None else _calls(tracer, output)
    last = next(node for node in tracer.nodes if z in node.outputs)
    _check_softmax(model, tracer.nodes, last)
    _check_outputs(model, last, tracer.values[z].shape)
    _check_norms(model, tracer)
    losses = tracer.loss(z)
    _check_parameters(model, tracer.parameters)
    names = tuple(parameter.name for parameter in tracer.parameters)
    kept = (buffer.name for buffer in tracer.buffers)
    graph = Graph(
        nodes=tuple(tracer.nodes),
        values=tracer.values,
        sources=(IMAGES, LABELS, PRESENT, RANDOM, *names, *kept),
        results=losses,
        parameters=tuple(tracer.parameters),
        buffers=tuple(tracer.buffers),
        updates=tracer.updates,
    )
    graph.check()
    return graph


def outputs_of(model: Model) -> int:
    """Width of the network's last layer."""
    graph = trace(model)
    (outputs,) = graph.values[graph.nodes[-1].inputs[0]].shape
    return outputs


def classes_of(model: Model) -> int:
    """Labels must be smaller than this: the number of outputs, or 2 where there is one."""
    return max(outputs_of(model), 2)


def least_present(model: Model) -> int:
    """Samples that a batch must have to be trained on: 2 where one value a channel would be all that is normalised."""
    graph = trace(model)
    norms = (graph.values[node.inputs[0]].shape for node in graph.nodes if isinstance(node.op, BatchNorm))
    return 2 if any(values_of_sample(shape) == 1 for shape in norms) else 1


def parameters_of(model: Model) -> tuple[Parameter, ...]:
    """All parameters in checkpoint order: that of PyTorch's state_dict."""
    return trace(model).parameters


def checkpoint_of(model: Model) -> tuple[Parameter | Buffer, ...]:
    """All tensors of a checkpoint, in its order."""
    return trace(model).checkpoint


def _calls(tracer: Tracer, output: Symbol) -> str:
    """The value of a symbol: what it depends on first, each once."""
    values: dict[int, str] = {}
    todo: list[tuple[Symbol, bool]] = [(output, False)]
    source: Input | None = None
    while todo:
        symbol, is_ready = todo.pop()
        if id(symbol) in values:
            continue
        if isinstance(symbol, Input):
            if source not in (None, symbol):
                raise ModelError(symbol.where, "Input: a second one; a network has one, read as often as you like")
            source = symbol
            if symbol.shape != tracer.model.input:
                raise ModelError(
                    symbol.where, f"Input: {dims(symbol.shape)} is not the model's {dims(tracer.model.input)}"
                )
            values[id(symbol)] = tracer.input
            continue
        if not is_ready:
            todo.append((symbol, True))
            todo += [(source, False) for source in reversed(symbol.inputs)]
            continue
        layer = symbol.layer
        assert layer is not None
        inputs = tuple(values[id(source)] for source in symbol.inputs)
        values[id(symbol)] = layer.trace_call(tracer, inputs)
    return values[id(output)]


def _check_softmax(model: Model, nodes: list[Node], last: Node) -> None:
    for node in nodes:
        if not isinstance(node.op, Softmax):
            continue
        if node is not last:
            raise ModelError(node.where, f"{node.label}: Softmax can only be the last layer")
        if model.loss.absorbs is not Softmax:
            raise ModelError(
                node.where, f"{node.label}: Softmax goes with SoftmaxCrossEntropy(), not {type(model.loss).__name__}()"
            )


def _check_norms(model: Model, tracer: Tracer) -> None:
    for node in tracer.nodes:
        values = values_of_sample(tracer.values[node.inputs[0]].shape)
        if isinstance(node.op, BatchNorm) and values == model.batch_size == 1:
            raise ModelError(
                node.where,
                f"{node.label}: batch_size is 1, so each channel has one value, which has no variance; "
                "use batch_size=2 or more, or put it where images have several pixels",
            )


def _check_outputs(model: Model, last: Node, shape: Shape) -> None:
    loss = type(model.loss).__name__
    if len(shape) != 1:
        raise ModelError(
            last.where, f"{last.label}: the network ends in an image {dims(shape)}; end it with Flatten(), Dense(...)"
        )
    outputs = shape[0]
    if outputs < model.loss.least_outputs:
        raise ModelError(
            last.where, f"{last.label}: {loss} needs 2 or more outputs, not 1; use BinaryCrossEntropy() or Dense(2)"
        )
    model.loss.check_outputs(outputs)
    if outputs > MAX_CLASSES:
        raise ModelError(last.where, f"{last.label}: {outputs} outputs; at most {MAX_CLASSES} (labels are bytes)")


def _check_parameters(model: Model, parameters: list[Parameter]) -> None:
    if not parameters:
        raise model.error("no layer has parameters, so there is nothing to train; add a Dense or Conv2D layer")
    for parameter in parameters:
        values = read_initial(parameter)
        if values is not None and not abs(values).max(initial=0.0) <= _LARGEST[model.dtype]:
            raise ModelError(parameter.where, f"{parameter.label}: {parameter.name} starts too large for {model.dtype}")
