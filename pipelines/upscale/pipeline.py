"""The pipeline `upscale`: a video in, the same video larger out."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.kernels.device import fast_precision
from darkroom.pipelines.base import Process, Segment, Site, Tick
from darkroom.pipelines.upscale.ahead import ahead
from darkroom.pipelines.upscale.enlarge import Enlarge, Planes, frame_by_frame
from darkroom.pipelines.upscale.models import MODELS
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.plan import Machine, UpscalePlan, make_plan
from darkroom.pipelines.video.encode import PartWriter, available_encoders
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.join import join
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import read

log = logging.getLogger(__name__)

DECODED_AHEAD, ENLARGED_AHEAD = 8, 4  # pictures waiting between the stages: memory is bounded, not the length


@dataclass(frozen=True)
class Upscale:
    """Enlarges videos as `options` say, at `site`."""

    options: Options
    site: Site = field(default_factory=Site)

    def probe(self, source: Path) -> VideoFacts:
        """Read the facts of `source`. Raises Rejected."""
        return probe(source)

    def plan(self, facts: VideoFacts) -> UpscalePlan:
        """Decide everything, for this machine. Raises Rejected, Unavailable."""
        machine = Machine(
            device=self.site.device,
            precision=fast_precision(self.site.device),
            ncnn=find_spec("ncnn") is not None,
            encoders=available_encoders(),
        )
        return make_plan(self.options, facts, machine)

    @contextmanager
    def open(self, plan: UpscalePlan) -> Iterator[Process]:
        """Load the model, or find it still loaded, and yield what makes parts. Raises Unavailable."""
        yield partial(process, plan, frame_by_frame(plan, self.site.device))

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
            "network": MODELS[plan.model].title,
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


def process(
    plan: UpscalePlan, enlarge: Enlarge, segment: Segment, previous: Path | None, out: Path, tick: Tick
) -> None:
    """Write the part of `segment`: decoding and the model each run ahead of the encoder in their own thread.

    The encoder runs in the caller's thread, and so does `tick`: what it raises unwinds from here, and
    when this returns or raises, both threads have ended. `previous` is not read: segments are independent.
    """
    with (
        closing(ahead(source_planes(plan.facts, segment), DECODED_AHEAD)) as pictures,
        closing(ahead(enlarge(pictures), ENLARGED_AHEAD)) as results,
        PartWriter(out, plan.facts, plan.encoder, segment.start) as writer,
    ):
        for done, planes in enumerate(results, segment.start + 1):
            writer.write(planes)
            tick(done)


def source_planes(facts: VideoFacts, segment: Segment) -> Iterator[Planes]:
    """Yield the planes of each picture of `segment`, and say at the end if some could not be decoded."""
    repeated = 0
    for picture in read(facts, segment.start, segment.stop):
        repeated += picture.repeated
        yield picture.planes
    if repeated:
        log.warning(
            "%s: %d of frames %d to %d cannot be decoded; the picture before is shown instead",
            *(facts.source.name, repeated, segment.start, segment.stop - 1),
        )
