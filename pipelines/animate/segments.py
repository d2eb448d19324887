"""The three kinds of segment: reading image and prompt, steps of denoising, decoding; each from the part before it"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from darkroom.pipelines.animate.attention import attending
from darkroom.pipelines.animate.caching import reusing
from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.decode import decode
from darkroom.pipelines.animate.denoise import Predict, denoise, guided, listening
from darkroom.pipelines.animate.encode import Conditions, encode_image, encode_picture, encode_text
from darkroom.pipelines.animate.fit import fitted, load_image
from darkroom.pipelines.animate.part import Part, Stage, read_part, write_part
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.prepare import prepare
from darkroom.pipelines.animate.solver import make_solver, restore, state_of
from darkroom.pipelines.base import Segment, Tick
from darkroom.pipelines.errors import Rejected

LATENTS, FRAMES, OF_SOLVER = "latents", "frames", "solver."
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass
class Segments:
    """Makes one part after another; a model is on the device once it is needed, and stays there.

    To be closed: what was laid over the transformer for this job is then taken off it.
    """

    plan: AnimatePlan
    components: Components
    device: torch.device
    limit_s: float | None
    began: float = field(default_factory=time.monotonic)
    undo: ExitStack = field(default_factory=ExitStack)
    prepared: bool = False

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
        with attending(plan.profile.attention):
            return self._denoised(read_part(previous, stage, before), segment, tick)

    def close(self) -> None:
        """Leave the models as the next job expects them."""
        self.undo.close()

    # -- what others do in another way: several devices, or one that is too small ----------------------------------

    def text_encoder(self) -> Any:
        """Give the text encoder where it is to run."""
        return self.components.text_encoder.to(self.device if self.plan.profile.text_on_device else "cpu")

    def image_encoder(self) -> Any:
        """Give the image encoder where it is to run."""
        return self.components.image_encoder.to(self.device)

    def vae(self) -> Any:
        """Give the VAE where it is to run."""
        return self.components.vae.to(self.device)

    def transformer(self) -> Any:
        """Give the transformer where it is to run, in the form of the plan."""
        return self.in_form().to(self.device)

    def in_form(self) -> Any:
        """Give the transformer in the form of the plan, wherever it is."""
        if not self.prepared:
            prepare(self.components, self.plan, self.device, self.undo)
            self.prepared = True
        return self.components.transformer

    def tiled(self) -> bool:
        """Tell whether the VAE works in tiles."""
        return self.plan.profile.vae_tiled

    def embedding(self, words: str, listen: Callable[[], None]) -> Tensor:
        """Give what the text encoder makes of `words`."""
        encoder = self.text_encoder()
        with listening(encoder.encoder.block, listen):  # minutes, on a CPU
            return encode_text(_pipe(tokenizer=self.components.tokenizer, text_encoder=encoder), words, None)[0]

    def prediction(self, transformer: Any, conditions: Conditions) -> Predict:
        """Give what a step asks for its velocity."""
        return guided(transformer, conditions, self.plan.guidance)

    def frames(self, latents: Tensor, listen: Callable[[], None]) -> Tensor:
        """Give the video of `latents`, uint8 [T, H, W, 3]."""
        return decode(self.vae(), latents, tiled=self.tiled(), listen=listen)

    def took(self, times: list[float]) -> None:
        """Hear when a segment of steps began and when each of its steps was done, in seconds."""

    # -- the stages ------------------------------------------------------------------------------------------------

    def _encoded(self, listen: Callable[[], None]) -> Part:
        plan = self.plan
        prompt = self.embedding(plan.prompt, listen)
        negative = None if plan.negative is None else self.embedding(plan.negative, listen)
        image = load_image(plan.facts.source)
        sees = _pipe(image_processor=self.components.image_processor, image_encoder=self.image_encoder())
        seen = encode_image(sees, image)
        listen()
        vae = self.vae()
        vae.enable_tiling() if self.tiled() else vae.disable_tiling()  # what the job before had set is still set
        fit = fitted(image, plan.size, plan.fit)
        noise, picture = encode_picture(_pipe(vae=vae), fit, plan.frames, plan.seed, self.device)
        conditions = Conditions(prompt=prompt, negative=negative, image=seen, picture=picture)
        return Part(stage="encoded", step=0, tensors={**conditions.tensors, LATENTS: noise})

    def _denoised(self, part: Part, segment: Segment, tick: Tick) -> Part:
        plan, transformer, first = self.plan, self.transformer(), segment.start - 1
        solver = make_solver(plan.solver, plan.steps, plan.shift, self.device)
        if part.solver:
            kept = {name.removeprefix(OF_SOLVER): t for name, t in part.tensors.items() if name.startswith(OF_SOLVER)}
            restore(solver, kept, part.solver, self.device)
        conditions = Conditions.of(part.tensors)
        predict = self.prediction(transformer, conditions.to(self.device, PRECISIONS[plan.profile.precision]))
        latents = part.tensors[LATENTS].to(self.device)
        done, times = [segment.start], [time.monotonic()]

        def told(steps: int) -> None:
            done[0] = 1 + steps
            times.append(time.monotonic())
            tick(done[0])

        with (
            listening(transformer.blocks, lambda: self._listening(tick, done[0])()),
            reusing(transformer, plan.attention_cache, plan.magcache, steps=plan.steps, first=first),
        ):
            latents = denoise(predict, solver, latents, first, segment.stop - 1, told)
        self.took(times)
        tensors, plain = state_of(solver)
        states = {f"{OF_SOLVER}{name}": tensor for name, tensor in tensors.items()}
        return Part(
            stage="denoised",
            step=segment.stop - 1,
            tensors={**conditions.tensors, LATENTS: latents, **states},
            solver=plain,
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


def _pipe(**components: Any) -> Any:
    """Give diffusers' pipeline of `components` alone: its parts are used, it is not called."""
    none = dict.fromkeys(("tokenizer", "text_encoder", "vae", "scheduler", "image_processor", "image_encoder"))
    return WanImageToVideoPipeline(**{**none, "transformer": None, **components})
