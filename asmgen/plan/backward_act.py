"""The gradient of an activation as an entry."""

from asmgen.plan import specs
from asmgen.plan.draft import Draft
from asmgen.plan.fuse import Group


def act_backward(draft: Draft, number: int, group: Group, dx: str) -> None:
    """dx = dy * act'(y); it works in place, so dx may be dy."""
    dy, y = f"dy{number}", f"y{number}"
    spec = specs.ActBackward(draft.layout(dy), draft.layout(y), draft.layout(dx), group.act)
    draft.entry("backward", spec, (dy, y, dx), (dx,), group.placed.label, f"d{group.act.kind}", (dy,))
