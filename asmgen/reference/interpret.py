"""Runs a Plan in NumPy float64, entry by entry, on logical arrays: what the kernels must compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from asmgen.graph.differentiate import next_name
from asmgen.plan import specs
from asmgen.plan.layout import Image, Rows
from asmgen.plan.plan import Entry, LayerParameters, Plan
from asmgen.reference import ops

Array = np.ndarray[Any, Any]
Parameters = dict[str, Array]


class Interpreter:
    """The state of a plan: `values` holds every tensor's logical array, parameter blocks as (weight, bias).

    It also holds the gradients (`d_dense1.w`) that no kernel stores. parameters: canonical arrays by name ("0.weight"),
    as PyTorch shapes them; buffers that are not among them start as their layers say.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, Array]) -> None:
        self.plan = plan
        self.values: dict[str, Any] = {}
        self.present = plan.batch
        self.seed = 0
        self.images: Array = np.zeros(0)
        self._n_steps = 0
        for block in plan.parameters:
            self.values[block.name] = parameter_arrays(block, parameters)
            self.values[next_name(block.name)] = self.values[block.name]
        for kept in plan.buffers:
            arrays = [parameters.get(each.name, np.full(each.shape, each.initial)) for each in kept.buffers]
            self.values[kept.name] = tuple(np.array(array, np.float64) for array in arrays)
            self.values[next_name(kept.name)] = self.values[kept.name]
        self._states = {
            block.name: tuple(_no_state(plan, array) for array in self.values[block.name])
            for block in plan.parameters
            if block.stores_gradient
        }
        for entry in plan.entries:
            if isinstance(entry.spec, specs.DenseBackwardWeightsStep):
                name, *states = (plan.home(output) for output in entry.outputs)
                for state in states:
                    self.values[state] = tuple(np.zeros_like(array) for array in self.values[name])

    def parameters(self) -> Parameters:
        """Canonical arrays by name, after all steps so far."""
        return self._canonical(lambda block: next_name(block.name))

    def buffers(self) -> Parameters:
        """Canonical buffers by name, after all steps so far."""
        found: Parameters = {}
        for kept in self.plan.buffers:
            values = self.values[next_name(kept.name)]
            found.update((each.name, value) for each, value in zip(kept.buffers, values, strict=True))
        return found

    def gradients(self) -> Parameters:
        """Canonical gradients of the last step by parameter name."""
        return self._canonical(lambda block: block.gradient)

    def begin_step(self, images: Array, indices: Array, labels: Array, present: int, lr: float) -> None:
        """Set what the runtime sets before a step. images: the u8 data set [count, c, h, w]."""
        for name, after in self.plan.updates.items():
            if after in self.values:
                self.values[name] = self.values[after]
        self._n_steps += 1
        self.images, self.present = images, present
        self.values["indices"], self.values["labels"] = np.asarray(indices), np.asarray(labels)
        self.values["pixels"] = images[self.values["indices"]]
        self.values["hyper"] = self.hyper(lr)

    def hyper(self, lr: float) -> tuple[float, float, float]:
        """The hyper block of this step (docs/architecture.md)."""
        spec = self.plan.optimizer()
        return lr, lr / (1 - spec.beta1**self._n_steps), 1 / np.sqrt(1 - spec.beta2**self._n_steps)

    def run(self, *phases: str) -> None:
        """Execute the entries of these phases, phase after phase as they are named."""
        for phase in phases:
            for entry in self.plan.phase(phase):
                self.execute(entry)

    def execute(self, entry: Entry) -> None:
        """Execute one entry: read its inputs from `values`, store its outputs there."""
        self._execute(entry)
        if entry.phase == "derive":  # what the first step reads
            for name in entry.outputs:
                self.values.setdefault(self.plan.home(name), self.values[name])

    def _execute(self, entry: Entry) -> None:
        if isinstance(entry.spec, specs.Update):
            self._update(entry.spec)
            return
        if isinstance(entry.spec, specs.DenseBackwardWeightsStep):
            self._dense_dw_step(entry, entry.spec)
            return
        if isinstance(entry.spec, specs.SumParts):  # the parts' value is their sum
            self.values[entry.outputs[0]] = self.values[entry.inputs[0]]
            return
        outputs = ops.run(entry.spec, *self._inputs(entry))
        match entry.spec:
            case specs.Loss():
                dz, losses, preds = outputs
                self._store(entry.args[2], dz)
                self.values["loss"] = (losses, preds)
            case (
                specs.Conv2dBackwardWeights()
                | specs.Conv2dBackwardWeightsSparse()
                | specs.Conv2dBackwardWeightsPooled()
                | specs.DenseBackwardWeights()
                | specs.DepthwiseBackwardWeights()
            ):
                dw, db = outputs
                self.values[entry.outputs[0]] = (dw, np.zeros(dw.shape[0]) if db is None else db)
            case specs.Conv2dPackBackwardInput():
                self.values[entry.outputs[0]] = outputs[0]
            case specs.WinogradWeights(mirrored=True):
                self.values[entry.outputs[0]] = outputs[0]
            case specs.Conv2dPackForward() | specs.WinogradWeights() | specs.LiveEntries():
                self.values[entry.outputs[0]] = outputs
            case specs.BatchNormBackwardWeights():
                self.values.update(zip(entry.outputs, outputs[-len(entry.outputs) :], strict=True))
            case _:
                for name, value in zip(entry.outputs, outputs, strict=False):
                    self._store(name, value)

    def _inputs(self, entry: Entry) -> list[Any]:
        """The inputs of the op, shaped as its spec wants them."""
        spec, values = entry.spec, self.values
        first, second, third, *_ = (*(arg or "" for arg in entry.args), "", "", "")
        match spec:
            case specs.LoadInput():
                return [self.images, values["indices"]]
            case specs.Conv2dForward() | specs.Conv2dForwardWinograd() | specs.DepthwiseForward():
                return [values[first], *values[second]]
            case specs.DenseForward() | specs.DenseForwardByOutput():
                return [_rows(values[first]), *values[second]]
            case specs.DenseBackwardInput():
                return [_rows(values[first]), values[second][0]]
            case specs.DenseBackwardWeights():
                return [_rows(values[first]), _rows(values[second])]
            case specs.DepthwiseBackwardInput():
                return [values[first], values[second][0]]
            case specs.Conv2dBackwardInput() | specs.Conv2dBackwardWeights():
                return [values[first], values[second]]
            case specs.Conv2dPackBackwardInput():
                return [values[first][0]]
            case specs.Conv2dUnpool():
                return [values[first], values.get(second), values.get(third)]
            case specs.PoolBackward():
                return [values[first], values.get(second)]
            case specs.WinogradWeights(mirrored=True):
                return [values[first], None]
            case specs.Conv2dPackForward() | specs.WinogradWeights():
                return [*values[first]]
            case specs.Conv2dBackwardInputSparse():
                return [*values[first], values[second][0]]
            case specs.Probabilities():
                return [_rows(values[first])]
            case specs.Dropout():
                x = values[first] if isinstance(spec.x, Image) else _rows(values[first])
                return [x, (self.seed, self._n_steps - 1)]
            case specs.BatchNormMoments():
                return [values[first], values.get(second), self.present]
            case specs.BatchNormFrozen():
                return [values[first], values.get(second)]
            case specs.BatchNormBackwardWeights():
                return [values[first], values[second]]
            case specs.BatchNormParts() if isinstance(spec.x, Rows):
                return [_rows(values[first])]
            case specs.BatchNormForward() if isinstance(spec.x, Rows):
                return [_rows(values[first]), values[second], *([_rows(values[third])] if spec.other else [])]
            case specs.Loss():
                return [_rows(values[first]), values["labels"], self.present]
        read = [arg for arg in entry.args if arg and arg not in entry.outputs]
        return [values[name] for name in (*read, *(name for name in entry.inputs if name not in read))]

    def _store(self, name: str | None, value: Any) -> None:
        if name is None or value is None:
            return
        layout = self.plan.tensor(name).layout
        if isinstance(layout, Image):
            value = np.reshape(value, (layout.n, layout.c, layout.h, layout.w))
        elif isinstance(layout, Rows):
            value = np.reshape(value, (layout.n, layout.features))
        self.values[name] = value

    def _update(self, spec: specs.Update) -> None:
        hyper = np.asarray(self.values["hyper"])
        for block in self.plan.parameters:
            if not block.stores_gradient:
                continue
            arrays, states = [], []
            for array, gradient, state in zip(
                self.values[block.name], self.values[block.gradient], self._states[block.name], strict=True
            ):
                new, new_state = ops.run(spec, array.reshape(-1), gradient.reshape(-1), state, hyper)
                arrays.append(new.reshape(array.shape))
                states.append(new_state)
            self.values[next_name(block.name)], self._states[block.name] = tuple(arrays), tuple(states)

    def _dense_dw_step(self, entry: Entry, spec: specs.DenseBackwardWeightsStep) -> None:
        values = self.values
        x, dy = (_rows(values[arg]) for arg in entry.args[:2] if arg)
        name, *states = (self.plan.home(output) for output in entry.outputs)
        before = [values[state] for state in states]
        outputs = ops.run(spec, x, dy, values[name], before, np.asarray(values["hyper"]))
        values[f"d_{name}"], weights, after = outputs
        values.update(zip(entry.outputs, (weights, *after), strict=True))

    def _canonical(self, name_of: Any) -> Parameters:
        found: Parameters = {}
        for block in self.plan.parameters:
            for parameter, value in zip((block.weight, block.bias), self.values[name_of(block)], strict=True):
                if parameter is not None:
                    found[parameter.name] = value
        return found


def parameter_arrays(block: LayerParameters, parameters: Mapping[str, Array]) -> tuple[Array, Array]:
    """(weight, bias) of a block, zeros in the place of one that it does not have, as float64."""
    n_outputs = block.parameters[0].shape[:1]
    weight, bias = (
        np.array(parameters[each.name], np.float64) if each else np.zeros(n_outputs)
        for each in (block.weight, block.bias)
    )
    return weight, bias


def _rows(value: Array) -> Array:
    return value.reshape(value.shape[0], -1)


def _no_state(plan: Plan, array: Array) -> Array:
    return np.zeros((plan.optimizer().n_states, array.size))
