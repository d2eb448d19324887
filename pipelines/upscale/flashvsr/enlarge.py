"""FlashVSR at work: a segment of a film as a stream of chunks, in the memory there is"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from darkroom.kernels.color import YUV
from darkroom.kernels.device import DTYPES, describe, release
from darkroom.pipelines.base import Segment, Site
from darkroom.pipelines.learned import Learned
from darkroom.pipelines.upscale.flashvsr.files import Weights
from darkroom.pipelines.upscale.flashvsr.frames import NEXT, Window, window
from darkroom.pipelines.upscale.flashvsr.load import kept, load, told
from darkroom.pipelines.upscale.flashvsr.memory import (
    Demand,
    below,
    budget,
    estimate,
    fit,
    ladder,
    profile_of,
    start,
    too_much,
)
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR
from darkroom.pipelines.upscale.flashvsr.options import MemoryOptions
from darkroom.pipelines.upscale.flashvsr.plan import FlashPlan
from darkroom.pipelines.upscale.flashvsr.stream import Job, frames, frames_by_tiles
from darkroom.pipelines.upscale.flashvsr.tiles import tiles
from darkroom.pipelines.upscale.pictures import Planes, colors, planes_of, rgb_of
from darkroom.pipelines.upscale.plan import UpscalePlan

log = logging.getLogger(__name__)

HOST_SHARE = 0.75  # of the host memory that is free now: what may be pinned for the device's sake


class Streamed:
    """Enlarges segments as `plan` says; a way of running that is too large for the device gives way to the next."""

    at_once = NEXT

    def __init__(
        self, plan: UpscalePlan, flash: FlashPlan, weights: Weights, site: Site, memory: MemoryOptions
    ) -> None:
        """Choose the way of running by estimate and by what was learned, and load the model for it.

        Raises Unavailable if no way can fit, or the model cannot be loaded.
        """
        self._plan, self._flash, self._weights, self._site = plan, flash, weights, site
        release()  # what the job before had pinned is then free, to be planned with
        self._device, self._learned = describe(site.device), Learned(site.learned)
        facts, cuda = plan.facts, self._device.kind == "cuda"
        self._demand = Demand(
            architecture=flash.architecture,
            variant=flash.variant,
            dtype_bytes=DTYPES[plan.precision].itemsize,
            kv_windows=flash.kv_windows,
            height=facts.height,
            width=facts.width,
            scale=Fraction(flash.scale),
        )
        self._rungs = ladder(
            memory,
            self._demand,
            cuda=cuda,
            device_bytes=self._device.total_bytes,
            host_bytes=int(HOST_SHARE * describe("cpu").free_bytes) if cuda else None,
        )
        self._budget = budget(memory, self._device.free_bytes)
        fitting = fit(self._rungs, partial(estimate, self._demand), self._budget)
        taught = profile_of(self._learned.rung(self._device.name, facts.width, facts.height, flash.scale))
        self.profile = start(fitting, taught, self._rungs)
        self._cleared = False
        if cuda:
            share = min(1.0, memory.limit / self._device.total_bytes) if memory.limit else 1.0
            torch.cuda.set_per_process_memory_fraction(share, torch.device(site.device).index or 0)  # it wants a number
        self._model = self._loaded()
        self._tell()
        needed_gib = estimate(self._demand, self.profile).total / 2**30
        log.info("flashvsr: %s, about %.1f GiB", self.profile.words(), needed_gib)

    def reads(self, segment: Segment) -> range:
        """Give the segment's frames with the lead-in before them and those the last chunk looks at."""
        of = self._window(segment)
        return range(of.read_start, of.read_stop)

    def __call__(self, segment: Segment, pictures: Iterable[Planes], scratch: Path) -> Iterator[Planes | None]:
        """Yield the enlarged pictures of `segment`, and None after each chunk."""
        source, result = colors(self._plan)
        tiled = tiles(
            self._flash.height,
            self._flash.width,
            scale=self._flash.scale,
            tile=self.profile.tile,
            overlap=self.profile.overlap,
        )
        job = Job(
            model=replace(
                self._model,
                kv_offload=self.profile.kv_offload,
                decoder_at_once=self.profile.decoder_at_once,
                decoder_strips=self.profile.decoder_strips,
            ),
            window=self._window(segment),
            height=self._flash.height,
            width=self._flash.width,
            seed=self._flash.seed,
        )
        shelf = Shelf(pictures, source, str(self._model.device), keep=len(tiled) > 1)
        with torch.inference_mode(), current(self._model.device):
            shown = frames(job, shelf) if len(tiled) == 1 else frames_by_tiles(job, shelf, tiled, scratch)
            for frame in shown:
                if frame is None:
                    yield None
                else:
                    yield planes_of((frame[None].float() / 2 + 0.5).clamp(0, 1), self._plan.sizes, result)

    def lighten(self) -> bool:
        """Let go of what the allocator holds in reserve, once; after that step down the ladder, and remember it."""
        if not self._cleared:
            self._cleared = True
            return True
        lower = below(self.profile, self._rungs)
        if lower is None:
            log.error("flashvsr: %s", too_much(estimate(self._demand, self.profile), self._budget))
            return False
        moved, facts = lower.unload_dit != self.profile.unload_dit, self._plan.facts
        self.profile = lower
        self._learned.keep_rung(self._device.name, facts.width, facts.height, self._flash.scale, lower.values())
        log.warning("flashvsr: out of memory; from now on %s", lower.words())
        self._tell()
        if moved:
            del self._model  # and what is kept warm: both would fill the device while the lighter one is loaded
            kept.cache_clear()
            self._model = self._loaded()
        return True

    def _tell(self) -> None:
        facts = self._plan.facts
        words = self.profile.words()
        self._learned.keep_ran(self._device.name, facts.width, facts.height, self._flash.scale, words)

    def _window(self, segment: Segment) -> Window:
        cut = segment.start in self._flash.cuts
        return window(segment, self._plan.facts.frames, cut=cut, lead_in=self._flash.lead_in)

    def _loaded(self) -> FlashVSR:
        flash = self._flash
        model = load(
            self._weights,
            flash.attention,
            self._plan.precision,
            self._site.device,
            required=flash.attention_named,
            unload_dit=self.profile.unload_dit,
        )
        return told(model, flash)


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make `device` the one of this thread: kernels are launched on that, and every thread has its own."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class Shelf:
    """Pictures as they come from the decoder, by their place; only those that may still be asked for are held."""

    def __init__(self, pictures: Iterable[Planes], source: YUV, device: str, keep: bool) -> None:
        """Hold nothing yet.

        keep: all pictures, in host memory: tiles ask for each again
        """
        self._pictures, self._source, self._device, self._keep = iter(pictures), source, device, keep
        self._first, self._held = 0, list[Tensor]()

    def __getitem__(self, places: range) -> Tensor:
        """Give [len(places), 3, h, w] uint8 RGB; past the last picture, the last again."""
        while self._first + len(self._held) < places.stop and (planes := next(self._pictures, None)) is not None:
            rgb = rgb_of(planes, self._source, self._device)[0].mul(255).round().to(torch.uint8)
            self._held.append(rgb.cpu() if self._keep else rgb)
        last = self._first + len(self._held) - 1
        found = torch.stack([self._held[min(place, last) - self._first] for place in places])
        if not self._keep:
            gone = min(places.stop, last) - self._first
            self._first, self._held = self._first + gone, self._held[gone:]
        return found
