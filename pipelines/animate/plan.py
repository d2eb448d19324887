"""What is decided before a video is made from an image: its size and length, the steps, the way through memory"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darkroom.pipelines.animate.memory import Profile
from darkroom.pipelines.animate.options import (
    NEGATIVE,
    AttentionCache,
    Lora,
    MagCache,
    Options,
    ParallelOptions,
    Solver,
)
from darkroom.pipelines.animate.parallel.limits import shared_size
from darkroom.pipelines.animate.part import SCHEMA
from darkroom.pipelines.animate.reuse import fresh_steps
from darkroom.pipelines.animate.sizes import TRAINED_FRAMES, Fit, Size, choose_size, default_shift, round_frames
from darkroom.pipelines.base import BUNDLE, Plan, Segment
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.encode import EncoderSettings

PARTS = 10  # of denoising, unless the options say how long each is: some gigabytes of work for 720P


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is known of an image before it moves."""

    source: Path
    size_bytes: int
    mtime_ns: int
    sha256: str
    width: int  # upright
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimatePlan(Plan):
    """How one image becomes a video."""

    facts: ImageFacts
    prompt: str
    negative: str | None  # None: not guided
    width: int
    height: int
    fit: Fit
    frames: int
    fps: int
    guidance: float
    steps: int
    seed: int
    solver: Solver
    shift: float
    model: str
    weights: tuple[tuple[str, str], ...]  # file, SHA-256: of the model and the LoRAs
    lora: tuple[Lora, ...]
    attention_cache: AttentionCache | None
    magcache: MagCache | None
    compiled: bool
    profile: Profile
    parallel: ParallelOptions
    device_kind: str  # "cuda", "npu" or "cpu": each rounds in its own way
    encoder: EncoderSettings
    suffix: str  # of the video
    poster: bool
    last_image: bool
    schema: int = SCHEMA

    @property
    def size(self) -> Size:
        """Of the video."""
        return Size(self.width, self.height)

    @property
    def decoding(self) -> Segment:
        """The last segment."""
        return self.segments[-1]

    @property
    def what(self) -> str:
        """What does the work, for people."""
        devices = f", {self.parallel.devices} devices" if self.parallel.devices > 1 else ""
        return f"{self.model}, {self.profile.what}{devices}" + (f"; {self.why}" if self.why else "")


def stages(steps: int, at_once: int | None, fresh: Sequence[int] = ()) -> tuple[Segment, ...]:
    """Give the segments: reading image and prompt, the steps in chunks, decoding; each of these counts as a step.

    at_once: steps between two parts; None: a tenth of all
    fresh:   the steps a part may end before, where not all may: what is reused between steps is in no part
    """
    length = at_once or math.ceil(steps / PARTS)
    wished = range(length, steps, length)
    met = {next((step for step in fresh if step >= wish), steps) for wish in wished} if fresh else set(wished)
    edges = [0, *(1 + step for step in sorted({0, *met, steps})), 2 + steps]
    return tuple(Segment(index, *edges[index : index + 2]) for index in range(len(edges) - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the machine and the weights decide."""

    weights: tuple[tuple[str, str], ...]
    profile: Profile
    device_kind: str
    encoder: EncoderSettings
    warnings: tuple[str, ...] = ()
    why: str = ""
    models: Path = Path()  # the folder that the files of LoRAs are below


def video_size(options: Options, facts: ImageFacts) -> tuple[Size, int]:
    """Give the size and the number of frames. Raises Rejected where the image has no prompt."""
    if options.prompt is None:
        raise Rejected(f"{facts.source.name}: has no prompt; write one into {facts.source.stem}.txt beside it")
    size, frames = choose_size(facts.width, facts.height, options.size, options.fit), round_frames(options.frames)
    if options.fit == "keep":  # another size is a wish, which `limits.check_tokens` answers
        size = shared_size(size, frames, options.parallel.ulysses)
    return size, frames


def make_plan(options: Options, facts: ImageFacts, chosen: Chosen, seed: int) -> AnimatePlan:
    """Decide everything; pure. Raises Rejected.

    seed: the options', or one drawn for this job
    """
    size, frames = video_size(options, facts)
    assert options.prompt is not None, "video_size has looked"
    suffix = f".{options.container}"
    several = options.poster or options.last_image
    return AnimatePlan(
        unit="step",
        segments=stages(
            options.steps,
            options.segment_steps,
            fresh_steps(options.steps, options.attention_cache, options.magcache),
        ),
        part_suffix=".safetensors",
        result_suffix=BUNDLE if several else suffix,
        warnings=(*notes(options, frames), *chosen.warnings),
        why=chosen.why,
        facts=facts,
        prompt=options.prompt,
        negative=_unwanted(options),
        width=size.width,
        height=size.height,
        fit=options.fit,
        frames=frames,
        fps=options.fps,
        guidance=options.guidance,
        steps=options.steps,
        seed=seed,
        solver=options.solver,
        shift=options.shift or default_shift(size),
        model=options.model,
        weights=chosen.weights,
        lora=tuple(Lora(file=chosen.models / one.file, weight=one.weight) for one in options.lora),
        attention_cache=options.attention_cache,
        magcache=options.magcache,
        compiled=options.compile,
        profile=chosen.profile,
        parallel=options.parallel,
        device_kind=chosen.device_kind,
        encoder=chosen.encoder,
        suffix=suffix,
        poster=options.poster,
        last_image=options.last_image,
    )


def _unwanted(options: Options) -> str | None:
    if options.guidance == 1:
        return None
    return NEGATIVE if options.negative_prompt is None else options.negative_prompt


def notes(options: Options, frames: int) -> tuple[str, ...]:
    """Say what differs from the wish, or may disappoint."""
    found = []
    if frames != options.frames:
        found.append(f"{frames} frames instead of {options.frames}: the model makes 4n+1")
    if frames > TRAINED_FRAMES:
        found.append(f"{frames} frames: beyond {TRAINED_FRAMES} the model repeats itself or fades")
    if options.attention_cache and options.attention_cache.end >= options.steps:
        found.append(f"attention_cache.end is {options.attention_cache.end}, and there are {options.steps} steps")
    return tuple(found)


def told(plan: AnimatePlan) -> dict[str, Any]:
    """Give the settings for the report and the video's own tags, in values JSON can hold."""
    names = ("prompt", "negative", "width", "height", "frames", "fps", "guidance", "steps", "seed", "solver", "shift")
    return {
        **{name: getattr(plan, name) for name in names},
        "fit": plan.fit,
        "model": plan.model,
        "lora": [[str(lora.file), lora.weight] for lora in plan.lora],
        "profile": asdict(plan.profile),
        "parallel": plan.parallel.model_dump(),
    }
