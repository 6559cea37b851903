"""A supersampled picture, and frames that place shapes in it: everything is drawn as polygons in unit coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]  # [n][2], x to the right, y down
Colour = tuple[int, int, int]

_SUPERSAMPLE = 3
_CURVE_POINTS = 12


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Points:
    """Centre, radii, rotation in radians."""
    turn = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    along, across = rx * np.cos(turn), ry * np.sin(turn)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([x + cos * along - sin * across, y + sin * along + cos * across], axis=1)


def curve(*control: tuple[float, float]) -> Points:
    """A Bezier curve through the first and the last control point."""
    points: Points = _bernstein(len(control) - 1) @ np.array(control)
    return points


@lru_cache
def _bernstein(degree: int) -> NDArray[np.float64]:
    """`[point][control]`: the weights of the control points along a curve; two points are enough for a line."""
    t = np.linspace(0, 1, 2 if degree == 1 else _CURVE_POINTS)[:, None]
    k = np.arange(degree + 1)
    return np.array([math.comb(degree, i) for i in k]) * t**k * (1 - t) ** (degree - k)


@dataclass(frozen=True)
class Frame:
    """Where a figure stands: its origin, its unit of length, its rotation (radians), and whether it is mirrored."""

    x: float
    y: float
    scale: float
    angle: float = 0.0
    mirrored: bool = False

    def place(self, points: Points) -> Points:
        """Figure coordinates -> picture coordinates (both unit)."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        x = -points[:, 0] if self.mirrored else points[:, 0]
        y = points[:, 1]
        return np.stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y], axis=1)

    def at(self, x: float, y: float, scale: float = 1.0, angle: float = 0.0) -> Frame:
        """A frame inside this one (a head on a body)."""
        place = self.place(np.array([[x, y]]))[0]
        turn = -angle if self.mirrored else angle
        return Frame(float(place[0]), float(place[1]), self.scale * scale, self.angle + turn, self.mirrored)


class Canvas:
    """A square picture of `size` pixels a side, drawn at three times that and averaged down."""

    def __init__(self, size: int, mode: str = "RGB") -> None:
        self._size = size
        self._side = size * _SUPERSAMPLE
        self.image = Image.new(mode, (self._side, self._side))
        self._draw = ImageDraw.Draw(self.image)

    def fill(self, frame: Frame, points: Points, colour: Colour | int) -> None:
        self._draw.polygon(self._pixels(frame.place(points)), fill=colour)

    def stroke(self, frame: Frame, points: Points, width: float, colour: Colour | int) -> None:
        """A line of `width` (in the frame's unit) with round joints and ends."""
        pixels = self._pixels(frame.place(points))
        thick = max(1.0, width * frame.scale * self._side)
        self._draw.line(pixels, fill=colour, width=round(thick))
        radius = thick / 2
        if radius > 1:
            for x, y in pixels:
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def paste(self, pixels: NDArray[np.uint8]) -> None:
        """Lay a small picture `[h][w][3]` over everything, scaled smoothly."""
        picture = Image.fromarray(pixels).resize((self._side, self._side), Image.Resampling.BICUBIC)
        self.image.paste(picture)

    def finish(self) -> NDArray[np.float32]:
        """The picture at its own size, 0..255, `[h][w]` or `[h][w][3]`."""
        return np.asarray(self.image.reduce(_SUPERSAMPLE), np.float32)

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return list(map(tuple, (points * self._side).tolist()))
