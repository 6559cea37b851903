"""The gradient of an activation as an entry."""

from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group


def act_backward(draft: Draft, number: int, group: Group, dx: str, x: str | None = None) -> None:
    """dx = dy * act'; it works in place, so dx may be dy. x: the activation's input, None where it is fused with what
    computes that: then its slope is found from y."""
    dy, saved = f"dy{number}", f"y{number}"
    if group.act.traits.slope_from == "x":
        assert x is not None
        saved = x
    spec = specs.ActBackward(draft.layout(dy), draft.layout(saved), draft.layout(dx), group.act)
    draft.entry("backward", spec, (dy, saved, dx), (dx,), group.placed.label, f"d{group.act.kind}", (dy,))
