"""A profile as a picture: one bar a call, in the order of the step. Importing this module imports matplotlib."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from asmgen.bench.profile import Profile
from asmgen.bench.tables import duration
from asmgen.plan.schedule import PHASES

_COLORS = dict(zip(PHASES, ("#4878a8", "#c8724a", "#6a9a58", "#8a70a8"), strict=True))
_WAITING = "#c8c8c8"


def draw_profile(profile: Profile, title: str, target: Path) -> None:
    """Bars from top to bottom as the step runs; grey is waiting for other threads, and what lies between the calls."""
    labels = [f"{call.layer}: {call.op}" for call in profile.calls] + ["between the calls"]
    seconds = [call.seconds for call in profile.calls] + [0.0]
    grey = [call.waiting for call in profile.calls] + [profile.between]
    colors = [_COLORS[call.phase] for call in profile.calls] + [_WAITING]
    places = list(range(len(labels)))
    figure = Figure(figsize=(9, 1.2 + 0.26 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.barh(places, [value * 1e3 for value in seconds], color=colors)
    axes.barh(places, [value * 1e3 for value in grey], left=[value * 1e3 for value in seconds], color=_WAITING)
    for place, value, rest in zip(places, seconds, grey, strict=True):
        whole = value + rest
        axes.text(whole * 1e3, place, f"  {whole / profile.step:.1%}  {duration(whole)}", va="center", fontsize=7)
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.16, y=0.01)
    axes.set(title=f"{title}: {duration(profile.step)} a step", xlabel="milliseconds")
    used = [phase for phase in PHASES if any(call.phase == phase for call in profile.calls)]
    handles = [Patch(color=_COLORS[phase], label=phase) for phase in used] + [
        Patch(color=_WAITING, label="waiting, between")
    ]
    axes.legend(handles=handles, loc="lower right", fontsize=8)
    figure.savefig(target, dpi=120)
