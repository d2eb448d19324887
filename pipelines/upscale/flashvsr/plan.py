"""What FlashVSR is to do with one film: the network's scale and size, its settings, its segments"""

from dataclasses import dataclass

from darkroom.pipelines.base import Segment
from darkroom.pipelines.upscale.flashvsr.architecture import Architecture
from darkroom.pipelines.upscale.flashvsr.cost import chunk_cost
from darkroom.pipelines.upscale.flashvsr.files import Number
from darkroom.pipelines.upscale.flashvsr.frames import NEXT, boundaries, segments
from darkroom.pipelines.upscale.flashvsr.memory import TILES, shared
from darkroom.pipelines.upscale.flashvsr.options import Attention, ColorFix, FlashVSROptions, MemoryOptions, Variant
from darkroom.pipelines.upscale.flashvsr.prepare import canvas_size
from darkroom.pipelines.video.facts import VideoFacts

SCALES = (2, 3, 4)  # trained for 4; others run on a picture enlarged by as much
TRAINED_SCALE = 4
EFFICIENCY = 0.4  # share of a device's pace at large matrices that a whole chunk reaches, about


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashPlan:
    """What decides FlashVSR's pictures, beside the weights and the precision."""

    version: Number
    variant: Variant
    architecture: Architecture
    sparse_ratio: float
    kv_windows: int
    local_range: int
    attention: Attention
    attention_named: bool  # by a person: then nothing else will do
    color_fix: ColorFix
    seed: int
    lead_in: int
    scale: int  # of the network
    height: int  # of the network's picture
    width: int
    tiles: tuple[int, int] | None  # size and overlap in source pixels, where the options want tiles
    cuts: tuple[int, ...]  # segments that begin with a scene start here: no lead-in


def flash_plan(
    options: FlashVSROptions,
    memory: MemoryOptions,
    facts: VideoFacts,
    *,
    version: Number,
    architecture: Architecture,
    scale: int,
    parts: tuple[Segment, ...],
) -> FlashPlan:
    """Give the plan for one film, cut into `parts`."""
    settings = options.settings
    size = memory.tile_size or TILES[0]
    starts = {part.start for part in parts}
    return FlashPlan(
        version=version,
        variant=options.variant,
        architecture=architecture,
        sparse_ratio=settings.sparse_ratio,
        kv_windows=settings.kv_windows,
        local_range=settings.local_range,
        attention=settings.attention,
        attention_named=settings.attention_named,
        color_fix=options.color_fix,
        seed=options.seed,
        lead_in=settings.lead_in,
        scale=scale,
        height=facts.height * scale,
        width=facts.width * scale,
        tiles=(size, shared(memory, size)) if memory.tiled_dit is True else None,
        cuts=tuple(cut for cut in facts.cuts if cut in starts),
    )


def seconds_per_frame(
    options: FlashVSROptions, architecture: Architecture, facts: VideoFacts, scale: int, pace: float
) -> float:
    """Estimate the work in one frame on a device of `pace` (10¹² operations a second at large matrices)."""
    height, width = canvas_size(facts.height * scale, facts.width * scale)
    settings = options.settings
    cost = chunk_cost(
        architecture,
        height,
        width,
        sparse_ratio=settings.sparse_ratio,
        kv_windows=settings.kv_windows,
        variant=options.variant,
    )
    return cost.total / NEXT / (pace * 1e12 * EFFICIENCY)


def cut_into(facts: VideoFacts, size: int) -> tuple[Segment, ...]:
    """Cut a film into segments of about `size` frames, where a scene begins if one is known to begin nearby."""
    return segments(facts.frames, size, facts.cuts)


def edges(facts: VideoFacts, size: int) -> tuple[int, ...]:
    """Give the frames near which a known scene cut would be of use."""
    return boundaries(facts.frames, size)
