"""Pictures on their way: planes read from the source, planes of the result, and RGB between them"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from darkroom.kernels.color import YUV, to_planes, to_rgb
from darkroom.kernels.resize import resize
from darkroom.pipelines.base import Segment
from darkroom.pipelines.upscale.plan import Sizes, UpscalePlan
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.read import read

log = logging.getLogger(__name__)

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


class Enlarge(Protocol):
    """Turns pictures of the source into those of a segment's result: the seam where a model plugs in."""

    @property
    def at_once(self) -> int:
        """How many pictures come together: twice as many may wait, so that the model need not."""

    def reads(self, segment: Segment) -> range:
        """Give the source's frames that `segment` is made from, in the order they are wanted."""

    def __call__(self, segment: Segment, pictures: Iterable[Planes], scratch: Path) -> Iterator[Planes | None]:
        """Yield each picture of `segment` once, in order; None says that work goes on and nothing is ready yet.

        pictures: those that `reads` names;  scratch: a folder for files without names
        Raises what `kernels.device.is_full` knows where memory does not suffice.
        """

    def lighten(self) -> bool:
        """Need less memory the next time; False if that cannot be."""


def source_planes(facts: VideoFacts, frames: range, damaged: list[int]) -> Iterator[Planes]:
    """Yield the planes of each of `frames`; those that could not be decoded are added to `damaged`, and logged."""
    for frame, picture in zip(frames, read(facts, frames.start, frames.stop), strict=True):
        if picture.repeated:
            damaged.append(frame)
        yield picture.planes
    if damaged:
        log.warning(
            "%s: %d of frames %d to %d cannot be decoded; the picture before is shown instead",
            *(facts.source.name, len(damaged), frames.start, frames.stop - 1),
        )


def rgb_of(planes: Planes, source: YUV, device: str) -> Tensor:
    """Give a picture as RGB, fp32 [1, 3, H, W] in [0, 1] on `device`."""
    y, u, v = (torch.from_numpy(plane).to(device) for plane in planes)
    return to_rgb((y, u, v), source)


def planes_of(rgb: Tensor, sizes: Sizes, result: YUV) -> Planes:
    """Give the planes of `rgb` [1, 3, H, W] in [0, 1], brought to size and padded."""
    y, u, v = to_planes(fitted(rgb, sizes), result)
    return y.cpu().numpy(), u.cpu().numpy(), v.cpu().numpy()


def fitted(rgb: Tensor, sizes: Sizes) -> Tensor:
    """Give `rgb` [1, 3, H, W] brought to size and padded: [1, 3, padded height, padded width]."""
    rgb = resize(rgb, sizes.height, sizes.width)
    right, below = sizes.padded_width - sizes.width, sizes.padded_height - sizes.height
    return F.pad(rgb, (0, right, 0, below), mode="replicate") if right or below else rgb


def colors(plan: UpscalePlan) -> tuple[YUV, YUV]:
    """Give how the source's planes and the result's are meant: the same, but for the chroma layout."""
    facts = plan.facts
    return (
        YUV(layout=facts.pixel_format, matrix=facts.matrix, full_range=facts.full_range),
        YUV(layout=plan.encoder.pixel_format, matrix=facts.matrix, full_range=plan.encoder.full_range),
    )
