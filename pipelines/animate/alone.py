"""The segments of a job on one device, in the memory there is: models come and go, and what runs out is answered"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkroom.kernels.device import describe, is_full
from darkroom.pipelines.animate.chosen import allowed, branches, demand_of, remembered_as
from darkroom.pipelines.animate.components import Components, load
from darkroom.pipelines.animate.device import Accelerator, look, opened, release
from darkroom.pipelines.animate.embeddings import FOLDER, Embeddings, Encoder
from darkroom.pipelines.animate.estimate import STEP_S
from darkroom.pipelines.animate.memory import (
    Bytes,
    Demand,
    Offload,
    Placement,
    Stage,
    begin,
    card,
    estimate,
    further,
    lighter,
    placement_of,
    too_much,
)
from darkroom.pipelines.animate.offload import is_streamed, leave, settle, stream
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.segments import PRECISIONS, Segments
from darkroom.pipelines.animate.weights import Weights, find
from darkroom.pipelines.base import Process, Segment, Site, Tick
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned

log = logging.getLogger(__name__)

HEAVY = ("text_encoder", "image_encoder", "vae", "transformer")
HOST_SHARE = 0.75  # of the host memory that is free now: what may be taken for the device's sake


@contextmanager
def made_by(plan: AnimatePlan, site: Site, options: Options) -> Iterator[Process]:
    """Yield what makes the parts of `plan` on the site's device. Raises Unavailable."""
    weights, device = find(site.models, plan.model), opened(site.device)
    release(site.device)
    components = load(weights, PRECISIONS[plan.profile.precision])
    room = Room(plan, site, options, weights)
    kept = embeddings_of(plan, site, weights) if options.memory.embedding_cache else None
    segments = Alone(plan, components, device, options.time_limit_s, room=room, kept=kept)
    try:
        if device.type != "cpu":  # kernels are launched on the current one
            segments.undo.enter_context(torch.get_device_module(device).device(device))
        yield segments
    finally:
        segments.close()


def embeddings_of(plan: AnimatePlan, site: Site, weights: Weights) -> Embeddings:
    """Give where embeddings of the plan's text encoder are kept."""
    encoder = Encoder(
        sha256=weights.sha256_of("text_encoder", "tokenizer"),
        dtype=plan.profile.precision,
        device_kind=plan.device_kind if plan.profile.text_on_device else "cpu",
    )
    return Embeddings(site.learned.with_name(FOLDER), encoder)


class Room:
    """Which way through memory a job takes: by estimate, by what was learned, and down the ladder from there."""

    def __init__(self, plan: AnimatePlan, site: Site, options: Options, weights: Weights) -> None:
        """Choose where to begin. Raises Unavailable if the device is not there."""
        self._plan, self._options, self._learned = plan, options, Learned(site.learned)
        self._device: Accelerator = look(site.device)
        self._allowed: tuple[Offload, ...] = allowed(options, self._device)
        self._demand: Demand = demand_of(options, weights, plan.size, plan.frames, site.models)
        known = self._learned.rung(*self._key())
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        self._budget = min(card(options.memory, self._device.total_bytes), self._device.free_bytes)
        fitting = begin(plan.profile, self._allowed, self.need, self._budget)
        self._tiles = options.memory.vae_tiles == "auto"
        self.placement = further(fitting, placement_of(known), self._allowed, tiles=self._tiles)
        self._cleared = False
        self._tell()

    def need(self, placement: Placement) -> Bytes:
        """Give what the job takes with things placed so."""
        return estimate(self._demand, self._plan.profile, placement)

    def lighten(self, stage: Stage) -> bool:
        """Let go of what the allocator holds in reserve, once; after that step down the ladder, and remember it.

        False where there is no way down that helps in `stage`.
        """
        if not self._cleared:
            self._cleared = True
            return True
        lower = lighter(self.placement, stage, self._allowed, tiles=self._tiles)
        if lower is None:
            log.error(too_much(self._demand, self._plan.profile, self.need(self.placement), self._budget))
            return False
        self.placement = lower
        self._keep(lower.values())
        log.warning("animate: out of memory in %s; from now on %s", stage, lower.what)
        self._tell()
        return True

    def took(self, times: Sequence[float]) -> None:
        """Remember how long a pass takes here, for the estimates to come.

        times: in seconds, of the beginning and of the end of each step; the first step warms up
        """
        if self._plan.attention_cache or self._plan.magcache or len(times) < 2:
            return
        first = 1 if len(times) > 2 else 0
        seconds = (times[-1] - times[first]) / (len(times) - 1 - first) / branches(self._options)
        if seconds > 0:
            self._keep({STEP_S: float(f"{seconds:.3g}")})

    def _keep(self, values: dict[str, Any]) -> None:
        self._known = {**self._known, **values}
        self._learned.keep_rung(*self._key(), self._known)

    def _tell(self) -> None:
        self._learned.keep_ran(*self._key(), self.placement.what)
        need_gib = self.need(self.placement).total / 2**30
        log.info("animate: %s, %s, about %.1f GiB", self._plan.profile.what, self.placement.what, need_gib)

    def _key(self) -> tuple[str, int, int, str]:
        plan = self._plan
        return self._device.name, plan.width, plan.height, remembered_as(self._options, plan.frames)


@dataclass
class Alone(Segments):
    """Makes one part after another; where memory runs out, again in a way that needs less."""

    room: Room = field(kw_only=True)
    kept: Embeddings | None = field(kw_only=True, default=None)

    def __call__(self, segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
        """Write the part of `segment`. Raises Unavailable where no way is left, and as Segments does."""
        decodes = segment == self.plan.decoding
        stage: Stage = "reading" if previous is None else "decoding" if decodes else "denoising"
        while True:
            try:
                return super().__call__(segment, previous, out, tick)
            except (RuntimeError, MemoryError) as error:
                if not is_full(error):
                    raise
                failure = " ".join(str(error).split()) or type(error).__name__
            # Here the error is gone, and with it the frames of its traceback that held tensors.
            release(self.device.type)
            if not self.room.lighten(stage):
                raise Unavailable(f"{self.plan.facts.source.name}: out of memory in {stage}: {failure}")

    def text_encoder(self) -> Any:
        """Give the text encoder where it is to run, with room for it."""
        self._make_room("text_encoder")
        return super().text_encoder()

    def image_encoder(self) -> Any:
        """Give the image encoder on the device, with room for it."""
        self._make_room("image_encoder")
        return super().image_encoder()

    def vae(self) -> Any:
        """Give the VAE on the device, with room for it."""
        self._make_room("vae")
        return super().vae()

    def transformer(self) -> Any:
        """Give the transformer in the form of the plan: on the device, or coming there block by block."""
        self._make_room("transformer")
        transformer = self.in_form()
        if self.room.placement.offload == "blocks":
            pinned = is_streamed(transformer) or self.room.need(self.room.placement).host <= _spare_bytes()
            stream(transformer, self.device, pinned=pinned)
        else:
            settle(transformer, self.device)
        return transformer

    def tiled(self) -> bool:
        """Tell whether the VAE works in tiles: as planned, or since memory ran out."""
        return self.room.placement.tiled

    def embedding(self, words: str, listen: Callable[[], None]) -> Tensor:
        """Give what the text encoder makes of `words`, or has made of them once."""
        compute = partial(super().embedding, words, listen)
        return compute() if self.kept is None else self.kept.embedding(words, compute)

    def took(self, times: list[float]) -> None:
        """Remember how fast it went."""
        self.room.took(times)

    def _make_room(self, name: str) -> None:
        if self.room.placement.offload != "none":
            make_room(self.components, name, self.device)


def make_room(components: Components, name: str, device: torch.device) -> None:
    """Take all models but `name` off `device`."""
    for other in HEAVY:
        if other != name:
            leave(components, other, device, _spare_bytes())


def _spare_bytes() -> int:
    return int(HOST_SHARE * describe("cpu").free_bytes)
