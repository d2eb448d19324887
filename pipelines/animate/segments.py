"""The three kinds of segment: reading image and prompt, steps of denoising, decoding; each from the part before it"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from darkroom.pipelines.animate.components import Components, load
from darkroom.pipelines.animate.decode import decode
from darkroom.pipelines.animate.denoise import Predict, denoise, guided, listening
from darkroom.pipelines.animate.encode import Conditions, encode_image, encode_picture, encode_text
from darkroom.pipelines.animate.fit import fitted, load_image
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.part import Part, Stage, read_part, write_part
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.solver import make_solver, restore, state_of
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.base import Process, Segment, Site, Tick
from darkroom.pipelines.errors import Rejected

LATENTS, FRAMES, OF_SOLVER = "latents", "frames", "solver."
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


@contextmanager
def made_by(plan: AnimatePlan, site: Site, options: Options) -> Iterator[Process]:
    """Yield what makes the parts of `plan` on the site's device. Raises Unavailable."""
    components = load(find(site.models, plan.model), PRECISIONS[plan.profile.precision])
    yield Segments(plan, components, torch.device(site.device), options.time_limit_s)


@dataclass
class Segments:
    """Makes one part after another; a model is on the device while it is needed."""

    plan: AnimatePlan
    components: Components
    device: torch.device
    limit_s: float | None
    began: float = field(default_factory=time.monotonic)

    def __call__(self, segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
        """Write the part of `segment`. Raises Unavailable, Stopped, and Rejected past the time limit."""
        write_part(out, self.made(segment, previous, tick))
        tick(segment.stop)

    def made(self, segment: Segment, previous: Path | None, tick: Tick) -> Part:
        """Give the part of `segment`. Raises as writing it does."""
        plan = self.plan
        listen = self._listening(tick, segment.start)
        if previous is None:
            return self._encoded(listen)
        if segment == plan.decoding:
            frames = self.frames(read_part(previous, "denoised", plan.steps).tensors[LATENTS], listen)
            return Part(stage="decoded", step=plan.steps, tensors={FRAMES: frames})
        before = segment.start - 1
        stage: Stage = "denoised" if before else "encoded"
        return self._denoised(read_part(previous, stage, before), segment, tick)

    # -- what several devices do in another way --------------------------------------------------------------------

    def text_encoder(self) -> Any:
        """Give the text encoder where it is to run."""
        return self.components.text_encoder.to(self.device if self.plan.profile.text_on_device else "cpu")

    def transformer(self) -> Any:
        """Give the transformer where it is to run."""
        return self.components.transformer.to(self.device)

    def prediction(self, transformer: Any, conditions: Conditions) -> Predict:
        """Give what a step asks for its velocity."""
        return guided(transformer, conditions, self.plan.guidance)

    def frames(self, latents: Tensor, listen: Callable[[], None]) -> Tensor:
        """Give the video of `latents`, uint8 [T, H, W, 3]."""
        vae = self.components.vae.to(self.device)
        return decode(vae, latents, tiled=self.plan.profile.vae_tiled, listen=listen)

    # -- the stages ------------------------------------------------------------------------------------------------

    def _encoded(self, listen: Callable[[], None]) -> Part:
        plan = self.plan
        pipe = self._pipe()
        prompt, negative = encode_text(pipe, plan.prompt, plan.negative)
        listen()
        image = load_image(plan.facts.source)
        seen = encode_image(pipe, image)
        listen()
        noise, picture = encode_picture(pipe, fitted(image, plan.size, plan.fit), plan.frames, plan.seed, self.device)
        conditions = Conditions(prompt=prompt, negative=negative, image=seen, picture=picture)
        return Part(stage="encoded", step=0, tensors={**conditions.tensors, LATENTS: noise})

    def _denoised(self, part: Part, segment: Segment, tick: Tick) -> Part:
        plan, transformer = self.plan, self.transformer()
        solver = make_solver(plan.solver, plan.steps, plan.shift, self.device)
        if part.solver:
            kept = {name.removeprefix(OF_SOLVER): t for name, t in part.tensors.items() if name.startswith(OF_SOLVER)}
            restore(solver, kept, part.solver, self.device)
        conditions = Conditions.of(part.tensors)
        predict = self.prediction(transformer, conditions.to(self.device, transformer.dtype))
        latents = part.tensors[LATENTS].to(self.device)
        done = [segment.start]

        def told(steps: int) -> None:
            done[0] = 1 + steps
            tick(done[0])

        with listening(transformer.blocks, lambda: self._listening(tick, done[0])()):
            latents = denoise(predict, solver, latents, segment.start - 1, segment.stop - 1, told)
        tensors, plain = state_of(solver)
        states = {f"{OF_SOLVER}{name}": tensor for name, tensor in tensors.items()}
        return Part(
            stage="denoised",
            step=segment.stop - 1,
            tensors={**conditions.tensors, LATENTS: latents, **states},
            solver=plain,
        )

    def _pipe(self) -> Any:
        """Give diffusers' pipeline of what reads: its parts are used, it is not called."""
        parts = self.components
        return WanImageToVideoPipeline(
            tokenizer=parts.tokenizer,
            text_encoder=self.text_encoder(),
            vae=parts.vae.to(self.device),
            scheduler=None,
            image_processor=parts.image_processor,
            image_encoder=parts.image_encoder.to(self.device),
            transformer=None,
        )

    def _listening(self, tick: Tick, done: int) -> Callable[[], None]:
        """Give what is called often while a step runs: it hears wishes and looks at the clock."""

        def listen() -> None:
            if self.limit_s is not None and time.monotonic() - self.began > self.limit_s:
                raise Rejected(
                    f"{self.plan.facts.source.name}: not done within {self.limit_s:g} s; raise time_limit_s, "
                    f"or ask for fewer steps or a smaller size"
                )
            tick(done)

        return listen
