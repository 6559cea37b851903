"""Digits as pen strokes: white on black, one glyph each, bent and slanted differently every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asmgen.data.drawing.canvas import Canvas, Frame, Points, curve

CLASSES = tuple("0123456789")

_Control = tuple[tuple[float, float], ...]

# Control points of the Bezier curves of each digit, in a box of x -0.5..0.5 and y -1..1 (down). Some digits are
# written in two ways.
_GLYPHS: tuple[tuple[tuple[_Control, ...], ...], ...] = (
    ((((0.0, -1.0), (-0.85, -1.0), (-0.85, 1.0), (0.0, 1.0)), ((0.0, 1.0), (0.85, 1.0), (0.85, -1.0), (0.0, -1.0))),),
    (
        (((0.0, -1.0), (0.0, 1.0)),),
        (((-0.35, -0.6), (-0.1, -0.7), (0.05, -1.0)), ((0.05, -1.0), (0.05, 1.0))),
    ),
    (
        (
            ((-0.5, -0.6), (-0.35, -1.2), (0.85, -1.1), (0.4, -0.1)),
            ((0.4, -0.1), (0.15, 0.4), (-0.5, 0.95)),
            ((-0.5, 0.95), (0.55, 0.9)),
        ),
    ),
    (
        (
            ((-0.45, -0.85), (0.3, -1.25), (0.95, -0.2), (-0.1, -0.05)),
            ((-0.1, -0.05), (1.1, 0.05), (0.5, 1.35), (-0.5, 0.8)),
        ),
    ),
    (
        (((-0.2, -1.0), (-0.35, -0.3), (-0.5, 0.15)), ((-0.5, 0.15), (0.55, 0.1)), ((0.25, -0.6), (0.2, 1.0))),
        (((0.2, -1.0), (-0.55, 0.3)), ((-0.55, 0.3), (0.55, 0.3)), ((0.2, -1.0), (0.2, 1.0))),
    ),
    (
        (
            ((0.5, -0.95), (-0.35, -0.95)),
            ((-0.35, -0.95), (-0.45, -0.1)),
            ((-0.45, -0.1), (0.75, -0.5), (0.85, 1.2), (-0.5, 0.85)),
        ),
    ),
    (
        (
            ((0.3, -1.0), (-0.4, -0.6), (-0.55, 0.2), (-0.4, 0.6)),
            ((-0.4, 0.6), (-0.2, 1.25), (0.65, 1.05), (0.45, 0.4)),
            ((0.45, 0.4), (0.3, -0.1), (-0.3, 0.0), (-0.42, 0.5)),
        ),
    ),
    (
        (((-0.5, -0.9), (0.5, -0.9)), ((0.5, -0.9), (0.1, 0.0), (-0.1, 1.0))),
        (((-0.5, -0.9), (0.5, -0.9)), ((0.5, -0.9), (0.1, 0.0), (-0.1, 1.0)), ((-0.25, 0.05), (0.4, 0.0))),
    ),
    (
        (
            ((0.0, -0.05), (-0.85, -0.35), (-0.4, -1.05), (0.0, -1.0)),
            ((0.0, -1.0), (0.5, -1.0), (0.8, -0.35), (0.0, -0.05)),
            ((0.0, -0.05), (-0.95, 0.3), (-0.6, 1.0), (0.0, 1.0)),
            ((0.0, 1.0), (0.6, 1.0), (0.95, 0.3), (0.0, -0.05)),
        ),
    ),
    (
        (
            ((0.42, -0.5), (0.3, -1.15), (-0.6, -1.1), (-0.45, -0.45)),
            ((-0.45, -0.45), (-0.3, 0.1), (0.4, 0.0), (0.42, -0.5)),
            ((0.42, -0.5), (0.42, 0.2), (0.25, 1.0)),
        ),
    ),
)


def draw_digit(label: int, size: int, random: np.random.RandomState) -> NDArray[np.uint8]:
    """One digit, ubyte `[size][size]`, background 0, its ink's centre of mass near the middle."""
    glyphs = _GLYPHS[label]
    strokes = [_bend(control, random) for control in glyphs[random.randint(len(glyphs))]]
    shear, stretch = random.normal(0.12, 0.18), random.uniform(0.8, 1.15)
    strokes = [np.stack([points[:, 0] * stretch - shear * points[:, 1], points[:, 1]], axis=1) for points in strokes]
    centre = np.concatenate(strokes).mean(axis=0) + random.normal(0, 0.08, 2)
    frame = Frame(0.5, 0.5, random.uniform(0.27, 0.35), random.normal(0, 0.08))
    width = random.uniform(0.18, 0.42)
    canvas = Canvas(size, "L")
    for points in strokes:
        canvas.stroke(frame, points - centre, width, 255)
    ink = canvas.finish() * random.uniform(0.75, 1.1)
    pixels: NDArray[np.uint8] = np.clip(ink, 0, 255).astype(np.uint8)
    return pixels


def _bend(control: _Control, random: np.random.RandomState) -> Points:
    return curve(*(np.array(control) + random.normal(0, 0.07, (len(control), 2))).tolist())
