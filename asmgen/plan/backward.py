"""The backward pass as entries, from the loss to the first layer with parameters."""

from asmgen.model.layers import Dense
from asmgen.plan import specs
from asmgen.plan.backward_act import act_backward
from asmgen.plan.backward_conv import conv_backward, sum_parts
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group
from asmgen.plan.layout import DenseWeights, DenseWeightsByOutput
from asmgen.plan.update import dense_state_bytes, dense_states, optimizer_step


def backward(draft: Draft) -> None:
    """Adds the entries from the gradient of the logits to those of all parameters; dense layers update theirs."""
    first_trained = draft.parameters[0].group
    for number in range(len(draft.groups), first_trained - 1, -1):
        group = draft.groups[number - 1]
        x = f"y{number - 1}" if number > 1 else draft.input
        dx = f"d{x}" if number > first_trained else None
        match group.kind:
            case "conv":
                conv_backward(draft, number, group, x, dx)
            case "dense":
                _dense_backward(draft, number, group, x, dx)
            case "pool":
                assert group.pool is not None
                assert dx is not None
                draft.add(dx, draft.without_halo(x))
                spec = specs.PoolBackward(draft.images(f"dy{number}"), draft.images(dx), group.pool)
                codes = f"code{number}" if group.pool.kind == "max" else None
                args = (f"dy{number}", codes, dx)
                draft.entry("backward", spec, args, (dx,), group.placed.label, group.text("d"))
            case "act":
                assert dx is not None
                draft.add(dx, draft.without_halo(x))
                act_backward(draft, number, group, dx, x)
    sum_parts(draft)


def _dense_backward(draft: Draft, number: int, group: Group, x: str, dx: str | None) -> None:
    dy, w = f"dy{number}", f"w{number}"
    layer = group.placed.layer
    assert isinstance(layer, Dense)
    weights = draft.parameters_of(number).layout
    assert isinstance(weights, DenseWeights | DenseWeightsByOutput)
    label = group.placed.label
    if group.act:
        act_backward(draft, number, group, dy)
    if dx is not None:
        assert isinstance(weights, DenseWeights)
        draft.add(dx, draft.without_halo(x))
        spec = specs.DenseBackwardInput(draft.as_rows(dy), weights, draft.as_rows(dx))
        draft.entry("backward", spec, (dy, w, dx), (dx,), label, "dense_dx")
    # Behind dx, which needs the old weights.
    step, outputs = optimizer_step(draft, weights.size_bytes), (w, *dense_states(draft, number))
    update = specs.DenseUpdate(
        draft.as_rows(x), draft.as_rows(dy), weights, layer.bias, step, dense_state_bytes(draft, step.n_states)
    )
    draft.entry("backward", update, (x, dy, w, "hyper"), outputs, label, f"dense_dw+{step.kind}", outputs)
