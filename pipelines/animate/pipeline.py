"""The pipeline `animate`: an image and a prompt in, a video out"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from darkroom.pipelines.animate.alone import made_by
from darkroom.pipelines.animate.chosen import choose
from darkroom.pipelines.animate.fit import load_image
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.parallel.launch import made_together
from darkroom.pipelines.animate.part import read_part
from darkroom.pipelines.animate.plan import AnimatePlan, ImageFacts, make_plan, told, video_size
from darkroom.pipelines.base import BUNDLE, Process, Site
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.video.create import made_facts, write_film

POSTER_QUALITY = 92


@dataclass(frozen=True)
class Animate:
    """Makes videos from images as `options` say, at `site`."""

    options: Options
    site: Site = field(default_factory=Site)

    def probe(self, source: Path) -> ImageFacts:
        """Read what `source` is. Raises Rejected, Unavailable."""
        image = load_image(source)
        try:
            with source.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            stat = source.stat()
        except OSError as error:
            raise Unavailable(f"{source}: cannot be read ({error.strerror}); is its disk there?") from error
        return ImageFacts(
            source=source,
            size_bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            sha256=sha256,
            width=image.width,
            height=image.height,
        )

    def plan(self, facts: ImageFacts) -> AnimatePlan:
        """Decide everything, for this machine and these weights. Raises Rejected, Unavailable."""
        size, frames = video_size(self.options, facts)
        chosen = choose(self.options, self.site, facts.source, size, frames)
        return make_plan(self.options, facts, chosen, drawn_seed(self.options, facts))

    @contextmanager
    def open(self, plan: AnimatePlan) -> Iterator[Process]:
        """Yield what makes parts; models are loaded when a part first needs them. Raises Unavailable."""
        make = made_together if plan.parallel.devices > 1 else made_by
        with make(plan, self.site, self.options) as process:
            yield process

    def join(self, plan: AnimatePlan, parts: Sequence[Path], out: Path) -> None:
        """Write the video, and the pictures beside it that the options ask for."""
        frames = read_part(parts[-1], "decoded", plan.steps).tensors["frames"]
        facts = made_facts(plan.facts.source, plan.width, plan.height, plan.frames, plan.fps)
        video = out
        if plan.result_suffix == BUNDLE:
            out.mkdir()
            video = out / f"0{plan.suffix}"
        write_film((frame.numpy() for frame in frames), facts, plan.encoder, tags(plan), video)
        if plan.poster:
            _image(frames[0]).save(out / "1.jpg", quality=POSTER_QUALITY)
        if plan.last_image:
            _image(frames[-1]).save(out / "2.png")

    def report(self, plan: AnimatePlan) -> dict[str, Any]:
        """Say what made the video, in values JSON can hold."""
        return {
            **told(plan),
            "device": plan.device_kind,
            "weights_sha256": dict(plan.weights),
            "segments": len(plan.segments),
            "encoder": plan.encoder.name,
            "source": {"size": [plan.facts.width, plan.facts.height], "sha256": plan.facts.sha256},
            "warnings": list(plan.warnings),
        }


def drawn_seed(options: Options, facts: ImageFacts) -> int:
    """Give the seed: the options', or one that image and prompt draw, so that a job begun again sees the same noise."""
    if options.seed is not None:
        return options.seed
    lot = hashlib.sha256(f"{facts.sha256} {options.prompt}".encode()).digest()
    return int.from_bytes(lot[:4], "big") % 2**31


def tags(plan: AnimatePlan) -> dict[str, str]:
    """Give what the video itself tells of how it was made."""
    settings = told(plan)
    prompt = settings.pop("prompt")
    return {"title": prompt[:200], "comment": json.dumps({"prompt": prompt, **settings}, ensure_ascii=False)}


def _image(frame: torch.Tensor) -> Image.Image:
    return Image.fromarray(frame.numpy())
