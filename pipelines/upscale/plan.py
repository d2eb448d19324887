"""Decide how a video is enlarged: sizes, passes of the net, backend, encoder, segments. Arithmetic only."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Literal

from darkroom.kernels.device import Precision
from darkroom.pipelines.base import Plan, Segment, split
from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.upscale.choose import resolve
from darkroom.pipelines.upscale.models import MODELS, Model
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.video.containers import ContainerPlan, choose_container
from darkroom.pipelines.video.encode import EncoderSettings, choose_encoder
from darkroom.pipelines.video.facts import VideoFacts

ALGORITHM = 1  # raised when the same plan would give other pictures: old parts are then not joined to new ones
LARGEST_FACTOR = 8  # three doublings; more is invention, and a 64-fold intermediate would fill the memory
SEGMENT_S = 90.0  # of estimated work: what a crash may cost
SHORTEST_SEGMENT = 120  # frames; each start of an encoder costs quality and bytes (2-3 % at 120, 7 % at 60)
GMACS: dict[tuple[str, Precision], float] = {  # 10⁹ multiply-adds a second of a plain machine: two cores; one card
    ("cpu", "fp32"): 100,
    ("cpu", "bf16"): 200,
    ("cuda", "fp32"): 10_000,
    ("cuda", "bf16"): 40_000,
    ("cuda", "fp16"): 40_000,
}
ENCODE_S_PER_MEGAPIXEL = 0.025  # x264 fast with the colours and the decoder, two cores

Backend = Literal["torch", "ncnn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the plan may ask of the machine."""

    device: str  # "cpu", "cuda:0", ...
    precision: Precision  # in which the device convolves fastest
    ncnn: bool  # can be imported
    encoders: tuple[str, ...]
    obstacle: str = "no FlashVSR weights"  # what stands in the way of flashvsr here, "" if nothing does


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How the pictures grow; widths and heights as stored, before rotation."""

    passes: tuple[int, ...]  # factors of the net, one pass after the other
    width: int  # of the enlarged picture
    height: int
    padded_width: int  # what is encoded: chroma of odd sizes needs one more row or column
    padded_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalePlan(Plan):
    """Everything that decides the bits of the result."""

    algorithm: int
    facts: VideoFacts
    model: str
    weights_sha256: str
    backend: Backend
    precision: Precision
    device_kind: str  # "cpu" or "cuda": the number of a card decides nothing
    sizes: Sizes
    encoder: EncoderSettings
    container: ContainerPlan

    @property
    def what(self) -> str:
        """The model, its backend and precision, and why it was taken if it was not named."""
        return f"{self.model}, {self.backend} {self.precision}" + (f" ({self.why})" if self.why else "")


def make_plan(options: Options, facts: VideoFacts, machine: Machine) -> UpscalePlan:
    """Give the plan for one video.

    Raises Rejected where the options cannot be met for these facts, Unavailable where this machine cannot.
    """
    choice = resolve(options.model, "backend ncnn is asked for" if options.backend == "ncnn" else "", machine.obstacle)
    options = options.model_copy(update={"model": choice.model})
    if choice.model not in MODELS:
        raise Unavailable(f"model {choice.model}: {machine.obstacle}; set another model")
    model = MODELS[choice.model]
    backend, precision = choose_backend(options, machine)
    passes, width, height = enlarge(options, facts, model)
    encoder, warnings = choose_encoder(options, facts, machine.encoders, width, height)
    sizes = pad(passes, width, height, encoder.pixel_format)
    if (sizes.padded_width, sizes.padded_height) != (width, height):
        encoder = replace(encoder, width=sizes.padded_width, height=sizes.padded_height)
        warnings += (
            f"{width}x{height} is odd, which {encoder.pixel_format} cannot store: "
            f"the last row or column is repeated to {encoder.width}x{encoder.height}",
        )
    container = choose_container(options, facts, encoder)
    kind = machine.device.partition(":")[0]
    work_s = seconds_per_frame(model, passes, facts, GMACS[kind, precision])
    return UpscalePlan(
        unit="frame",
        segments=segments(options, facts.frames, work_s),
        part_suffix=".mp4",
        result_suffix=container.suffix,
        warnings=warnings + container.warnings,
        why=choice.why,
        algorithm=ALGORITHM,
        facts=facts,
        model=model.name,
        weights_sha256=model.sha256,
        backend=backend,
        precision=precision,
        device_kind=kind,
        sizes=sizes,
        encoder=encoder,
        container=container,
    )


def choose_backend(options: Options, machine: Machine) -> tuple[Backend, Precision]:
    """Give what computes, and in which numbers.

    `auto` takes ncnn on a CPU for photo (1.5 times as fast as torch in bf16, 2.9 times as in fp32) and
    for every model where the CPU lacks bf16 (1.5 to 2.9 times); else torch, which is as fast.
    Raises Unavailable if what was asked for is not here.
    """
    cuda = machine.device.startswith("cuda")
    if options.backend == "ncnn" and cuda:
        raise Unavailable(f"backend ncnn: computes on the CPU, not on {machine.device}; set backend: auto")
    if options.backend == "ncnn" and not machine.ncnn:
        raise Unavailable("backend ncnn: not installed; pip install 'darkroomd[ncnn]', or set backend: auto")
    if options.precision == "fp16" and not cuda:
        raise Unavailable("precision fp16: CPUs do not compute in it; set precision: auto")
    precision = machine.precision if options.precision == "auto" else options.precision
    exact_is_faster = machine.ncnn and not cuda and (precision == "fp32" or options.model == "photo")
    if options.backend == "ncnn" or (
        options.backend == "auto" and exact_is_faster and options.precision in ("auto", "fp32")
    ):
        return "ncnn", "fp32"
    return "torch", precision


def enlarge(options: Options, facts: VideoFacts, model: Model) -> tuple[tuple[int, ...], int, int]:
    """Give the passes of the net, and the width and height they (and a reduction after them) lead to.

    `target_height` counts lines as seen: of a picture lying on its side, the columns as stored. The
    other side keeps the aspect to the nearest even number.
    Raises Rejected if there is nothing to enlarge, or too much.
    """
    width, height = facts.width, facts.height
    if options.target_height is None:
        factor = Fraction(options.scale or 2)
        return passes(factor, model.scales), int(width * factor), int(height * factor)
    lying = facts.rotation in (90, 270)
    lines = width if lying else height
    factor = Fraction(options.target_height, lines)
    name = facts.source.name
    if factor <= 1:
        raise Rejected(
            f"{name}: has {lines} lines, {options.target_height} are asked for: nothing to do; raise target_height"
        )
    if factor > LARGEST_FACTOR:
        raise Rejected(
            f"{name}: {options.target_height} lines from {lines} is more than {LARGEST_FACTOR} times;"
            f" lower target_height to {LARGEST_FACTOR * lines}"
        )
    across = 2 * round((height if lying else width) * factor / 2)
    size = (options.target_height, across) if lying else (across, options.target_height)
    return passes(factor, model.scales), *size


def passes(factor: Fraction, scales: tuple[int, ...]) -> tuple[int, ...]:
    """Give the fewest passes that reach `factor`, the largest first: 3 of (2, 4) by (4,), of (2,) by (2, 2)."""
    taken: tuple[int, ...] = ()
    while prod(taken) < factor:
        missing = factor / prod(taken)
        taken += (next((scale for scale in scales if scale >= missing), scales[-1]),)
    return taken


def pad(passes: tuple[int, ...], width: int, height: int, layout: str) -> Sizes:
    """Give the sizes with what `layout` needs: nothing is ever cut off."""
    return Sizes(
        passes=passes,
        width=width,
        height=height,
        padded_width=width + (width % 2 if layout in ("yuv420p", "yuv422p") else 0),
        padded_height=height + (height % 2 if layout == "yuv420p" else 0),
    )


def seconds_per_frame(model: Model, passes: tuple[int, ...], facts: VideoFacts, gmacs: float) -> float:
    """Estimate the work in one frame from fixed numbers, never measured ones: the plan is the same tomorrow."""
    seconds, pixels = 0.0, facts.width * facts.height
    for scale in passes:
        # One pass of anime costs the same for 2 and 4: x2 is the x4 net, halved.
        seconds += pixels * model.macs / (gmacs * 1e9 * model.efficiency)
        pixels *= scale * scale
    return seconds + pixels / 1e6 * ENCODE_S_PER_MEGAPIXEL


def segments(options: Options, frames: int, seconds_per_frame: float) -> tuple[Segment, ...]:
    """Cut the frames into segments of about SEGMENT_S of work, or as the options say."""
    size = options.segment_frames or max(SHORTEST_SEGMENT, round(SEGMENT_S / seconds_per_frame))
    return split(frames, size)
