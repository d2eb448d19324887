"""The embedded models at work: every picture enlarged alone, in as many passes as it takes"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from darkroom.kernels.device import Precision
from darkroom.pipelines.base import Segment
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale import nets
from darkroom.pipelines.upscale.pictures import Planes, colors, planes_of, rgb_of
from darkroom.pipelines.upscale.plan import Backend, UpscalePlan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameByFrame:
    """Enlarges pictures as `plan` says, each alone."""

    plan: UpscalePlan
    device: str
    nets: tuple[nets.Net, ...]
    at_once: int = 1

    def reads(self, segment: Segment) -> range:
        """Give the segment's own frames."""
        return range(segment.start, segment.stop)

    def __call__(self, segment: Segment, pictures: Iterable[Planes], scratch: Path) -> Iterator[Planes]:
        """Yield the enlarged pictures."""
        source, result = colors(self.plan)
        for planes in pictures:
            with torch.inference_mode():
                rgb = passed(self.nets, rgb_of(planes, source, self.device))
                yield planes_of(rgb, self.plan.sizes, result)

    def lighten(self) -> bool:
        """Say that it cannot be: strips are as small as they get."""
        return False


def frame_by_frame(plan: UpscalePlan, device: str) -> FrameByFrame:
    """Load what `plan` needs. Raises Unavailable if the model cannot be loaded."""
    loaded = load(plan.model, plan.backend, plan.precision, device, plan.sizes.passes, torch.get_num_threads())
    return FrameByFrame(plan=plan, device=device, nets=loaded)


def passed(loaded: tuple[nets.Net, ...], rgb: Tensor) -> Tensor:
    """Give `rgb` [1, 3, H, W] after all passes."""
    for net in loaded:
        rgb = net(rgb)
    return rgb


@lru_cache(maxsize=1)  # kept warm between the jobs of one process; a job with another model replaces it
def load(
    model: str, backend: Backend, precision: Precision, device: str, passes: tuple[int, ...], threads: int
) -> tuple[nets.Net, ...]:
    """Give one net for each of `passes`, all from one weight file. Raises Unavailable."""
    # What the plan decided is said once, with what would be faster: never silently slow.
    faster = backend == "torch" and device == "cpu" and (precision == "fp32" or model == "photo")
    hint = "; faster with ncnn: pip install 'darkroomd[ncnn]'" if faster and find_spec("ncnn") is None else ""
    log.info("model %s: %s in %s on %s, %d threads%s", model, backend, precision, device, threads, hint)
    if backend == "torch":
        return tuple(nets.load(model, scale=scale, device=device, precision=precision) for scale in passes)
    try:
        from darkroom.pipelines.upscale import ncnn
    except ImportError as error:
        raise Unavailable(f"ncnn: cannot be imported ({error}); pip install 'darkroomd[ncnn]'") from error
    return tuple(ncnn.load(model, scale=scale) for scale in passes)
