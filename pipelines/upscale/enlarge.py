"""From the planes of a source's pictures to the planes of the result's: the seam where a model plugs in."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from darkroom.kernels.color import YUV, to_planes, to_rgb
from darkroom.kernels.device import Precision
from darkroom.kernels.resize import resize
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale import nets
from darkroom.pipelines.upscale.plan import Backend, Sizes, UpscalePlan

log = logging.getLogger(__name__)

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
Enlarge = Callable[[Iterable[Planes]], Iterator[Planes]]
"""Pictures in, as many pictures out, in order. A net that looks at one frame maps them one by one; a
streaming one may hold some back, as long as the last call for a result finds them all."""


def frame_by_frame(plan: UpscalePlan, device: str) -> Enlarge:
    """Give what enlarges pictures as `plan` says, each alone. Raises Unavailable if the model cannot be loaded."""
    loaded = load(plan.model, plan.backend, plan.precision, device, plan.sizes.passes, torch.get_num_threads())
    source, result = colors(plan)

    def run(pictures: Iterable[Planes]) -> Iterator[Planes]:
        for planes in pictures:
            on_device = tuple(torch.from_numpy(plane).to(device) for plane in planes)
            with torch.inference_mode():
                rgb = enlarged(loaded, to_rgb((on_device[0], on_device[1], on_device[2]), source), plan.sizes)
                y, u, v = to_planes(rgb, result)
            yield y.cpu().numpy(), u.cpu().numpy(), v.cpu().numpy()

    return run


def enlarged(loaded: tuple[nets.Net, ...], rgb: Tensor, sizes: Sizes) -> Tensor:
    """Give `rgb` [1, 3, H, W] after all passes, brought to size and padded: [1, 3, padded height, padded width]."""
    for net in loaded:
        rgb = net(rgb)
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
