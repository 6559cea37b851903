"""Weight gradients as entries: whole, or in parts of the samples that are added at the end."""

from __future__ import annotations

from asmgen.plan import specs
from asmgen.plan.draft import Draft


def weight_gradient(draft: Draft, label: str, dw: specs.GradientInParts, args: tuple[str | None, ...]) -> None:
    """dw, or parts of it that `sum_parts` adds."""
    target = draft.parameters[label].gradient
    if dw.sample_parts > 1:
        target = draft.raw(f"{label}.parts", dw.sample_parts * specs.part_stride_bytes(dw.dw))
        draft.partial[label] = dw
    draft.entry("backward", dw, (*args, target), (target,), label)


def sum_parts(draft: Draft) -> None:
    """What is summed in parts is added at the end, so that no other entry waits for it."""
    for label, dw in draft.partial.items():
        spec = specs.SumParts.of(dw.dw, dw.sample_parts, bias=dw.conv.bias)
        target = draft.parameters[label].gradient
        draft.entry("backward", spec, (f"{label}.parts", target), (target,), label)
