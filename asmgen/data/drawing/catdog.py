"""Cats and dogs: what differs is their build (ears, muzzle, eyes, whiskers, tongue, tail), never the palette.

Coat, pattern, background, light and noise come from the same distributions for both, so a mean colour tells nothing.
Head coordinates: the face is about a unit circle around (0, 0). Body coordinates: the head's unit, (0, 0) between the
shoulders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asmgen.data.drawing.canvas import Canvas, Colour, Frame, Points, curve, ellipse

CLASSES = ("cat", "dog")

_COATS = (  # dark grey, grey, orange, ginger brown, chocolate, cream, white, golden
    (62, 60, 64), (134, 134, 138), (208, 132, 62), (160, 100, 56), (98, 66, 46), (226, 202, 164), (234, 230, 224),
    (204, 166, 98),
)  # fmt: skip
_IRISES = ((150, 190, 70), (214, 176, 60), (110, 170, 200))
_INK: Colour = (26, 22, 24)


def draw_catdog(label: int, size: int, random: np.random.RandomState) -> NDArray[np.uint8]:
    """One picture, ubyte `[3][size][size]`; label 0 is a cat, 1 a dog."""
    canvas = Canvas(size)
    _background(canvas, random)
    coat = _Coat.choose(random)
    scale = random.uniform(0.19, 0.27)
    frame = Frame(
        random.uniform(0.36, 0.64), random.uniform(0.36, 0.52), scale, random.normal(0, 0.10), bool(random.randint(2))
    )
    head = frame.at(0, 0, angle=random.normal(0, 0.15))
    body, face = (_cat_body, _cat_head) if label == 0 else (_dog_body, _dog_head)
    body(canvas, frame, coat, random)
    face(canvas, head, coat, random)
    return _photograph(canvas.finish(), random)


@dataclass(frozen=True)
class _Coat:
    """Base colour, a lighter one (muzzle, belly), a darker one (ears, markings), and whether there are markings."""

    base: Colour
    light: Colour
    dark: Colour
    marked: bool

    @staticmethod
    def choose(random: np.random.RandomState) -> _Coat:
        base = np.array(_COATS[random.randint(len(_COATS))]) + random.normal(0, 10, 3)
        light, dark = base + (255 - base) * random.uniform(0.25, 0.6), base * random.uniform(0.5, 0.75)
        return _Coat(_colour(base), _colour(light), _colour(dark), bool(random.randint(2)))


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return (red, green, blue)


def _background(canvas: Canvas, random: np.random.RandomState) -> None:
    """A smooth random texture of two muted colours, often with a floor and some round shapes."""
    first, second = _muted(random), _muted(random)
    cells = random.randint(2, 7)
    blend = random.uniform(0, 1, (cells, cells, 1))
    canvas.paste((first + (second - first) * blend).astype(np.uint8))
    picture = Frame(0, 0, 1)
    if random.randint(2):
        floor = random.uniform(0.6, 0.85)
        corners = np.array([(0, floor), (1, floor + random.normal(0, 0.04)), (1, 1), (0, 1)])
        canvas.fill(picture, corners, _colour(_muted(random)))
    for _ in range(random.randint(3)):
        x, y, rx, ry = random.uniform((0, 0, 0.03, 0.03), (1, 1, 0.15, 0.15))
        canvas.fill(picture, ellipse(x, y, rx, ry, random.uniform(0, 3)), _colour(_muted(random)))


def _muted(random: np.random.RandomState) -> NDArray[np.float64]:
    return np.clip(random.uniform(30, 170) + random.normal(0, 22, 3), 0, 255)


def _photograph(picture: NDArray[np.float32], random: np.random.RandomState) -> NDArray[np.uint8]:
    """Light, contrast, colour cast and sensor noise -> ubyte `[3][h][w]`."""
    gain = random.uniform(0.75, 1.15) * random.uniform(0.93, 1.07, 3)
    noise = random.standard_normal(picture.shape) * random.uniform(2, 8)
    exposed = picture * gain + random.uniform(-12, 12) + noise
    return np.ascontiguousarray(np.clip(exposed, 0, 255).astype(np.uint8).transpose(2, 0, 1))


def _both(points: Points) -> tuple[Points, Points]:
    return points, points * (-1, 1)


def _cat_body(canvas: Canvas, frame: Frame, coat: _Coat, random: np.random.RandomState) -> None:
    """Slim and pear-shaped, with a long tail that curls up."""
    reach, height = random.uniform(1.5, 2.1), random.uniform(-0.4, 0.9)
    canvas.stroke(frame, curve((0.5, 2.9), (reach + 0.5, 3.0), (reach, 1.2), (reach + 0.3, height)), 0.24, coat.dark)
    canvas.fill(frame, ellipse(0, 2.1, random.uniform(0.85, 1.05), 1.5), coat.base)
    canvas.fill(frame, ellipse(0, 2.0, 0.4, 0.9), coat.light)
    for paw in _both(ellipse(0.38, 3.3, 0.3, 0.35)):
        canvas.fill(frame, paw, coat.base)


def _cat_head(canvas: Canvas, head: Frame, coat: _Coat, random: np.random.RandomState) -> None:
    """Upright pointed ears, wide face, slit eyes, small pink nose, long whiskers; stripes where marked."""
    height, spread = random.uniform(1.35, 1.65), random.uniform(0.65, 0.85)
    for ear in _both(np.array([(0.12, -0.75), (spread, -height), (0.98, -0.25)])):
        canvas.fill(head, ear, coat.dark if coat.marked else coat.base)
    for ear in _both(np.array([(0.35, -0.8), (spread, 0.25 - height), (0.82, -0.5)])):
        canvas.fill(head, ear, (222, 160, 160))
    canvas.fill(head, ellipse(0, 0, random.uniform(1.0, 1.12), random.uniform(0.84, 0.94)), coat.base)
    if coat.marked:
        for x in (-0.3, 0.0, 0.3):
            canvas.stroke(head, curve((x, -0.8), (x * 0.8, -0.6), (x * 0.7, -0.42)), 0.1, coat.dark)
        for stripe in _both(curve((0.98, 0.05), (0.8, 0.12), (0.66, 0.12))):
            canvas.stroke(head, stripe, 0.08, coat.dark)
    iris = _colour(np.array(_IRISES[random.randint(len(_IRISES))]) + random.normal(0, 12, 3))
    slit = random.uniform(0.05, 0.1)
    for side in (-1, 1):
        canvas.fill(head, ellipse(side * 0.42, -0.12, 0.25, 0.2, side * -0.25), iris)
        canvas.fill(head, ellipse(side * 0.42, -0.12, slit, 0.19), _INK)
    for cheek in _both(ellipse(0.2, 0.45, 0.27, 0.2)):
        canvas.fill(head, cheek, coat.light)
    canvas.fill(head, np.array([(-0.12, 0.22), (0.12, 0.22), (0, 0.36)]), (214, 130, 134))
    for lip in _both(curve((0, 0.36), (0.03, 0.58), (0.26, 0.52))):
        canvas.stroke(head, lip, 0.04, _INK)
    for fall in (-0.12, 0.02, 0.16):
        tip = (random.uniform(1.3, 1.6), 0.42 + 2 * fall)
        for whisker in _both(curve((0.3, 0.42 + fall / 2), (0.8, 0.38 + fall), tip)):
            canvas.stroke(head, whisker, 0.03, (240, 240, 240))


def _dog_body(canvas: Canvas, frame: Frame, coat: _Coat, random: np.random.RandomState) -> None:
    """Broad-chested, legs apart, with a short straight tail."""
    tip = (random.uniform(1.6, 2.0), random.uniform(1.5, 2.1))
    canvas.stroke(frame, curve((0.9, 2.6), (1.5, 2.2), tip), 0.3, coat.base)
    canvas.fill(frame, ellipse(0, 2.0, random.uniform(1.15, 1.35), 1.5), coat.base)
    canvas.fill(frame, ellipse(0, 1.7, 0.6, 0.9), coat.light)
    for leg in _both(ellipse(0.62, 3.1, 0.32, 0.8)):
        canvas.fill(frame, leg, coat.base)


def _dog_head(canvas: Canvas, head: Frame, coat: _Coat, random: np.random.RandomState) -> None:
    """Hanging ears, long face, light muzzle with a big dark nose, round eyes, often a tongue; a patch where marked."""
    canvas.fill(head, ellipse(0, -0.05, random.uniform(0.82, 0.94), random.uniform(0.98, 1.1)), coat.base)
    if coat.marked:
        canvas.fill(head, ellipse(0.38, -0.25, 0.34, 0.4, 0.3), coat.dark)
    length, lift = random.uniform(0.62, 0.85), random.uniform(-0.1, 0.35)
    for side in (-1, 1):
        canvas.fill(head, ellipse(side * 0.95, 0.05, 0.3, length, side * -lift), coat.dark)
    for side in (-1, 1):
        canvas.fill(head, ellipse(side * 0.38, -0.25, 0.15, 0.16), _INK)
        canvas.fill(head, ellipse(side * 0.38 + 0.05, -0.3, 0.045, 0.045), (250, 250, 250))
    if random.uniform() < 0.65:
        canvas.fill(head, ellipse(random.normal(0, 0.08), 1.0, 0.19, random.uniform(0.25, 0.42)), (226, 104, 118))
    canvas.fill(head, ellipse(0, 0.5, random.uniform(0.48, 0.58), random.uniform(0.46, 0.56)), coat.light)
    canvas.fill(head, ellipse(0, 0.3, random.uniform(0.22, 0.28), 0.18), _INK)
    canvas.stroke(head, np.array([(0, 0.4), (0, 0.68)]), 0.05, _INK)
    for lip in _both(curve((0, 0.68), (0.15, 0.88), (0.42, 0.7))):
        canvas.stroke(head, lip, 0.05, _INK)
