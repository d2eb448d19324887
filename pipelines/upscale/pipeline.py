"""The pipeline `upscale`: a video in, the same video larger out."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch

from darkroom.kernels.device import describe, is_full, release
from darkroom.pipelines.base import Process, Segment, Site, Tick
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned
from darkroom.pipelines.upscale.ahead import ahead
from darkroom.pipelines.upscale.enlarge import frame_by_frame
from darkroom.pipelines.upscale.enlarge import load as load_nets
from darkroom.pipelines.upscale.flashvsr.cuts import find_cuts
from darkroom.pipelines.upscale.flashvsr.enlarge import Streamed
from darkroom.pipelines.upscale.flashvsr.files import find
from darkroom.pipelines.upscale.flashvsr.load import load
from darkroom.pipelines.upscale.machine import survey
from darkroom.pipelines.upscale.models import MODELS
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.pictures import Enlarge, source_planes
from darkroom.pipelines.upscale.plan import (
    OWN_SCALE,
    UpscalePlan,
    choose_backend,
    make_plan,
    passes,
    settled,
    wanted_cuts,
)
from darkroom.pipelines.video.damage import damage_of, note_damage
from darkroom.pipelines.video.encode import PartWriter
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.join import join
from darkroom.pipelines.video.probe import probe

DECODED_AHEAD, ENLARGED_AHEAD = 8, 4  # pictures waiting between the stages: memory is bounded, not the length


@dataclass(frozen=True)
class Upscale:
    """Enlarges videos as `options` say, at `site`."""

    options: Options
    site: Site = field(default_factory=Site)

    def probe(self, source: Path) -> VideoFacts:
        """Read the facts of `source`, and for a streaming model where scenes begin. Raises Rejected, Unavailable."""
        facts = probe(source)
        edges = wanted_cuts(self.options, facts, survey(self.options, self.site))
        return replace(facts, cuts=find_cuts(facts, edges)) if edges else facts

    def plan(self, facts: VideoFacts) -> UpscalePlan:
        """Decide everything, for this machine. Raises Rejected, Unavailable."""
        return make_plan(self.options, facts, survey(self.options, self.site))

    @contextmanager
    def open(self, plan: UpscalePlan) -> Iterator[Process]:
        """Load the model, or find it still loaded, and yield what makes parts. Raises Unavailable."""
        yield partial(process, plan, enlarger(plan, self.options, self.site))

    def preload(self) -> str:
        """Load the model that jobs will most likely ask for, and say which. Raises Unavailable."""
        machine = survey(self.options, self.site)
        options, why = settled(self.options, machine)
        backend, precision = choose_backend(options, machine)
        if machine.flash and options.model == "flashvsr":
            settings = options.flashvsr.settings
            required = settings.attention_named
            load(machine.flash.weights, settings.attention, precision, self.site.device, required=required)
        else:
            factors = passes(Fraction(options.scale or OWN_SCALE), MODELS[options.model].scales)
            load_nets(options.model, backend, precision, self.site.device, factors, torch.get_num_threads())
        return f"{options.model}, {backend} {precision}" + (f" ({why})" if why else "")

    def join(self, plan: UpscalePlan, parts: Sequence[Path], out: Path) -> None:
        """Write the result: the parts in order, and all else the source holds."""
        join(plan.facts, plan.encoder, plan.container, parts, out)

    def report(self, plan: UpscalePlan) -> dict[str, Any]:
        """Say what made the result, in values JSON can hold."""
        facts = plan.facts
        encoder = asdict(plan.encoder)
        return {
            "model": plan.model,
            "chosen": plan.why,
            "network": MODELS[plan.model].title if plan.flash is None else f"FlashVSR {plan.flash.version}",
            **({"flashvsr": asdict(plan.flash), "memory": self._ran(plan)} if plan.flash else {}),
            "weights_sha256": plan.weights_sha256,
            "algorithm": plan.algorithm,
            "backend": plan.backend,
            "precision": plan.precision,
            "device": plan.device_kind,
            "passes": list(plan.sizes.passes),
            "scale": f"{plan.sizes.height / facts.height:g}",
            "width": plan.sizes.padded_width,
            "height": plan.sizes.padded_height,
            "encoder": {**encoder, "options": dict(plan.encoder.options)}
            | {name: str(encoder[name]) for name in ("sar", "frame_rate")},
            "container": plan.container.suffix,
            "segments": len(plan.segments),
            "source": {
                "size": [facts.width, facts.height],
                "pixel_format": facts.pixel_format,
                "frames": facts.frames,
                "duration_s": round(facts.duration_s, 3),
                "frame_rate": str(facts.frame_rate),
                "streams": [[stream.kind, stream.codec] for stream in facts.streams],
            },
            "warnings": list(plan.warnings),
        }

    def review(self, plan: UpscalePlan, parts: Sequence[Path]) -> dict[str, Any]:
        """Say how many frames of the source could not be decoded."""
        damaged = [frame for part in parts for frame in damage_of(part)]
        if not damaged:
            return {}
        what = f"{len(damaged)} of {plan.facts.frames} frames could not be decoded (first frame {damaged[0]})"
        return {"incomplete": [f"{what}: the picture before is shown instead"]}

    def _ran(self, plan: UpscalePlan) -> str:
        """Say how the model was kept within the device's memory."""
        assert plan.flash is not None
        device, facts = describe(self.site.device).name, plan.facts
        return Learned(self.site.learned).ran(device, facts.width, facts.height, plan.flash.scale)


def enlarger(plan: UpscalePlan, options: Options, site: Site) -> Enlarge:
    """Give what enlarges pictures as `plan` says, its weights loaded or found still loaded. Raises Unavailable."""
    if plan.flash is None:
        return frame_by_frame(plan, site.device)
    weights = find(site.models, plan.flash.version, plan.flash.variant)
    return Streamed(plan, plan.flash, weights, site, options.memory)


def process(
    plan: UpscalePlan, enlarge: Enlarge, segment: Segment, previous: Path | None, out: Path, tick: Tick
) -> None:
    """Write the part of `segment`; where the device runs out of memory, again in a way that needs less.

    `previous` is not read: segments are independent. Raises Unavailable where no way is left.
    """
    while True:
        try:
            return write_part(plan, enlarge, segment, out, tick)
        except (RuntimeError, MemoryError) as error:
            if not is_full(error):
                raise
            failure = " ".join(str(error).split()) or type(error).__name__
        # Here the error is gone, and with it the frames of its traceback that held tensors.
        release()
        if not enlarge.lighten():
            raise Unavailable(f"{plan.facts.source.name}: out of memory: {failure}")


def write_part(plan: UpscalePlan, enlarge: Enlarge, segment: Segment, out: Path, tick: Tick) -> None:
    """Write the part of `segment`: decoding and the model each run ahead of the encoder in their own thread.

    The encoder runs in the caller's thread, and so does `tick`: what it raises unwinds from here, and
    when this returns or raises, both threads have ended.
    """
    done, waiting = segment.start, max(ENLARGED_AHEAD, 2 * enlarge.at_once)
    damaged: list[int] = []
    with (
        closing(ahead(source_planes(plan.facts, enlarge.reads(segment), damaged), DECODED_AHEAD)) as pictures,
        closing(ahead(enlarge(segment, pictures, out.parent), waiting)) as results,
        PartWriter(out, plan.facts, plan.encoder, segment.start) as writer,
    ):
        for planes in results:
            if planes is not None:
                writer.write(planes)
                done += 1
            tick(done)
    note_damage(out, [frame for frame in damaged if segment.start <= frame < segment.stop])
