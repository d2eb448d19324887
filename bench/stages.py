"""One step of FlashVSR taken apart: what each stage of a chunk takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

import torch
from timing import Clock, forget_peak, peak_gib, settle
from torch import Tensor
from weights import moving

from darkroom.kernels.selection import select_windows
from darkroom.pipelines.base import Segment
from darkroom.pipelines.upscale.flashvsr import dit, lq_projection
from darkroom.pipelines.upscale.flashvsr.frames import AHEAD, NEXT, chunk, given, window
from darkroom.pipelines.upscale.flashvsr.model import CHANNELS, FlashVSR, StreamState, begin, develop, match_colors
from darkroom.pipelines.upscale.flashvsr.prepare import VAE_STRIDE, low_quality
from darkroom.pipelines.upscale.flashvsr.stream import Job, frames

SCALE = 4
SLOW_MS = 1500  # of a chunk: two of them suffice
WARM = 2  # chunks before those that count: the first is another shape, the second the first of its own

Project = Callable[[lq_projection.LQProjection, Tensor, lq_projection.LQState], tuple[Tensor, lq_projection.LQState]]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way of running the model."""

    model: FlashVSR
    project: Project = lq_projection.project
    try_out: bool = False  # cuDNN times its ways for each new shape and keeps the fastest


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a trial took; milliseconds of a steady chunk are medians."""

    first: dict[str, float]  # ms of the first chunk by stage
    steady: dict[str, float]
    whole: float  # ms of a steady chunk
    host: float  # ms until the host had handed over a steady chunk: near `whole`, the device waits for the host
    peak: float | None  # GiB


def run(trial: Trial, height: int, width: int, chunks: int) -> tuple[Taken, StreamState]:
    """Return what `trial` takes for `chunks` steady chunks, after WARM others that do not count, and its last state."""
    model = trial.model
    forget_peak(model.device)
    state, pictures = begin(model, height, width), moving(given(WARM + 2), height // SCALE, width // SCALE)
    numbers = torch.Generator().manual_seed(0)
    taken: list[tuple[dict[str, float], float, float]] = []
    for index in range(WARM + chunks):
        eaten, latents = len(chunk(min(index, 1)).lq), len(chunk(min(index, 1)).latents)
        rgb = pictures[index % 3 :][:eaten].to(model.device)
        noise = torch.randn(latents, CHANNELS, height // VAE_STRIDE, width // VAE_STRIDE, generator=numbers)
        noise = noise.to(model.device, model.dtype)
        clock = Clock(model.device)
        settle(model.device)
        began = perf_counter()
        clock.mark("")
        with torch.backends.cudnn.flags(enabled=True, benchmark=trial.try_out, allow_tf32=True):
            _, state = staged(trial, rgb, noise, state, clock)
        host = 1000 * (perf_counter() - began)
        taken.append((clock.spans(), clock.whole(), host))
        if index > WARM and taken[-1][1] > SLOW_MS:
            break
    steady = taken[WARM:]
    found = Taken(
        first=taken[0][0],
        steady={name: median(spans[name] for spans, _, _ in steady) for name in steady[0][0]},
        whole=median(whole for _, whole, _ in steady),
        host=median(host for _, _, host in steady),
        peak=peak_gib(model.device),
    )
    return found, state


def staged(trial: Trial, rgb: Tensor, noise: Tensor, state: StreamState, clock: Clock) -> tuple[Tensor, StreamState]:
    """Return what `model.step` does for these pictures, with a mark behind each stage."""
    model, (height, width) = trial.model, state.shown
    taken = low_quality(rgb, height, width, model.dtype)
    clock.mark("enlarge")
    if state.lq is None or state.tail is None:
        lq, clips, seen = lq_projection.start(model.lq, taken[:1]), taken[1:], taken
    else:
        lq, clips, seen = state.lq, taken, torch.cat((state.tail, taken))
    found = []
    for some in torch.split(clips, NEXT):
        tokens, lq = trial.project(model.lq, some, lq)
        found.append(tokens)
    tokens = torch.cat(found)
    clock.mark("projection")
    latents, ring = dit.denoise(model.dit, model.ops, noise, tokens, state.latents, state.ring, model.sparsity)
    clock.mark("transformer")
    shown = len(seen) - AHEAD
    state = replace(state, latents=state.latents + len(noise), ring=ring, lq=lq, tail=seen[shown:].clone())
    made, state = develop(model, latents, seen[:shown], state)
    clock.mark("decoder")
    made = match_colors(model)(made[..., :height, :width], seen[:shown, :, :height, :width])
    clock.mark("colours")
    return made, state


class Reel:
    """Pictures in host memory, as a decoder gives them, over and over."""

    def __init__(self, height: int, width: int) -> None:
        self.pictures = moving(40, height, width)

    def __getitem__(self, places: range) -> Tensor:
        return self.pictures[[place % len(self.pictures) for place in places]]


def streamed(model: FlashVSR, height: int, width: int, chunks: int) -> float:
    """Return the ms that a steady chunk takes by the clock in the stream of a segment: pictures and noise included."""
    count = given(WARM + chunks)
    job = Job(model=model, window=window(Segment(0, 0, count), count, cut=True), height=height, width=width, seed=0)
    done, began = 0, 0.0
    for shown in frames(job, Reel(height // SCALE, width // SCALE)):
        if shown is None and (done := done + 1) == WARM:
            settle(model.device)
            began = perf_counter()
    settle(model.device)
    return 1000 * (perf_counter() - began) / chunks


def kept_pairs(model: FlashVSR, height: int, width: int) -> float:
    """Return which share of the pairs of windows that it may keep the selection does keep, in steady chunks."""
    kept: list[Tensor] = []

    def counting(q: Tensor, k: Tensor, v: Tensor, q_means: Tensor, k_means: Tensor, **rule: Any) -> Tensor:
        choice = {name: rule[name] for name in ("heads", "grid", "local_range", "topk")}
        mask = select_windows(q_means, k_means[list(rule["slots"])].flatten(0, 1), **choice)
        slices = len(q_means) // k_means.shape[1]
        kept.append(mask.sum() / (len(mask) * min(slices * rule["topk"], mask[0].numel())))
        return model.ops.windowed(q, k, v, q_means, k_means, **rule)

    run(Trial(model=replace(model, ops=replace(model.ops, windowed=counting))), height, width, 1)
    return float(torch.stack(kept[-len(model.dit.blocks) :]).mean())
