"""One film on its way through the pipeline `upscale`, whole or stage by stage."""

from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from darkroom.kernels.color import to_planes, to_rgb
from darkroom.pipelines.upscale.enlarge import load, passed
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.pictures import colors, fitted
from darkroom.pipelines.upscale.pipeline import Upscale
from darkroom.pipelines.video.encode import PartWriter
from darkroom.pipelines.video.read import read


class Film:
    """A film, its plan, and what each stage eats; every method does its work for all frames."""

    def __init__(self, clip: Path, folder: Path, **options: object) -> None:
        """Read `clip` and enlarge it once, on the CPU; results go to `folder`."""
        self._clip, self._folder, self._numbers = clip, folder, count()
        self._pipeline = Upscale(options=Options.model_validate(options))
        self.plan = self._pipeline.plan(self._pipeline.probe(clip))
        self._source, self._result = colors(self.plan)
        self._pictures = [picture.planes for picture in read(self.plan.facts, 0, self.plan.facts.frames)]
        self._rgb = [to_rgb(self._tensors(planes), self._source) for planes in self._pictures]
        self._enlarged = [tensor.clone() for tensor in self.model()]
        self._planes = [to_planes(rgb, self._result) for rgb in self._enlarged]
        self._parts = self._made_parts()

    def model(self) -> list[Tensor]:
        """Run the model alone, on tensors in memory."""
        plan = self.plan
        nets = load(plan.model, plan.backend, plan.precision, "cpu", plan.sizes.passes, torch.get_num_threads())
        with torch.inference_mode():
            return [fitted(passed(nets, rgb), plan.sizes) for rgb in self._rgb]

    def whole(self) -> Path:
        """Do what a job does, from the probe to the joined result, and return the result."""
        self.probe()
        self._parts = self._made_parts()
        return self.join()

    def probe(self) -> None:
        """Read the facts and plan."""
        self._pipeline.plan(self._pipeline.probe(self._clip))

    def decode(self) -> None:
        """Decode to planes."""
        for _ in read(self.plan.facts, 0, self.plan.facts.frames):
            pass

    def colours(self) -> None:
        """Turn small planes into RGB, and large RGB into planes."""
        with torch.inference_mode():
            for planes, rgb in zip(self._pictures, self._enlarged, strict=True):
                to_rgb(self._tensors(planes), self._source)
                to_planes(rgb, self._result)

    def encode(self) -> None:
        """Encode large planes."""
        with PartWriter(self._new(), self.plan.facts, self.plan.encoder, 0) as writer:
            for y, u, v in self._planes:
                writer.write((y.numpy(), u.numpy(), v.numpy()))

    def join(self) -> Path:
        """Join the parts with the sound, and check the result."""
        result = self._new()
        self._pipeline.join(self.plan, self._parts, result)
        return result

    def _made_parts(self) -> list[Path]:
        parts = [self._new() for _ in self.plan.segments]
        with self._pipeline.open(self.plan) as process:
            for segment, part in zip(self.plan.segments, parts, strict=True):
                process(segment, None, part, lambda _: None)
        return parts

    def _new(self) -> Path:
        return self._folder / f"{next(self._numbers)}.mp4"

    def _tensors(self, planes: tuple[object, ...]) -> tuple[Tensor, Tensor, Tensor]:
        y, u, v = map(torch.as_tensor, planes)
        return y, u, v
