"""Where a point of one plane lies in another: the six numbers that PDF too calls a matrix"""

from dataclasses import dataclass
from typing import Self

from darkroom.pipelines.ocr.page import Point, Polygon


@dataclass(frozen=True, slots=True)
class Affine:
    """The map x' = a x + c y + e, y' = b x + d y + f."""

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0
    e: float = 0.0
    f: float = 0.0

    @classmethod
    def through(cls, origin: Point, right: Point, down: Point) -> Self:
        """Give the map of (0, 0), (1, 0) and (0, 1) to these points."""
        (x, y), (rx, ry), (dx, dy) = origin, right, down
        return cls(rx - x, ry - y, dx - x, dy - y, x, y)

    def point(self, point: Point) -> Point:
        """Map a point."""
        x, y = point
        return self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f

    def vector(self, vector: Point) -> Point:
        """Map a direction with its length: everything but the shift."""
        x, y = vector
        return self.a * x + self.c * y, self.b * x + self.d * y

    def polygon(self, polygon: Polygon) -> Polygon:
        """Map four corners, in their order."""
        a, b, c, d = (self.point(corner) for corner in polygon)
        return a, b, c, d

    def then(self, following: "Affine") -> "Affine":
        """Give the map that does this one first and `following` after it."""
        x, y = following.point((self.e, self.f))
        return Affine(*following.vector((self.a, self.b)), *following.vector((self.c, self.d)), x, y)

    def inverse(self) -> "Affine":
        """Give the map back. Raises ZeroDivisionError where the plane was folded to a line."""
        area = self.a * self.d - self.b * self.c
        back = Affine(self.d / area, -self.b / area, -self.c / area, self.a / area)
        x, y = back.vector((self.e, self.f))
        return Affine(back.a, back.b, back.c, back.d, -x, -y)


def turned_back(width: float, height: float, rotation: int) -> Affine:
    """Give the map from an upright page to the page it was before it was turned clockwise by `rotation`.

    width, height: of the upright page, in the unit of the points
    rotation:      0, 90, 180 or 270 degrees, as `Page.rotation`
    """
    return {
        0: Affine(),
        90: Affine(0, -1, 1, 0, 0, width),
        180: Affine(-1, 0, 0, -1, width, height),
        270: Affine(0, 1, -1, 0, height, 0),
    }[rotation]
