"""Decide how a video is enlarged: sizes, passes of the net, backend, encoder, segments. Arithmetic only."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Literal

from darkroom.kernels.device import Precision
from darkroom.pipelines.base import Plan, Segment, split
from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.upscale.choose import resolve
from darkroom.pipelines.upscale.flashvsr.architecture import Architecture
from darkroom.pipelines.upscale.flashvsr.files import Weights
from darkroom.pipelines.upscale.flashvsr.plan import SCALES, TRAINED_SCALE, FlashPlan, cut_into, edges, flash_plan
from darkroom.pipelines.upscale.flashvsr.plan import seconds_per_frame as flash_seconds
from darkroom.pipelines.upscale.models import MODELS, Model
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.video.containers import ContainerPlan, choose_container
from darkroom.pipelines.video.encode import EncoderSettings, choose_encoder
from darkroom.pipelines.video.facts import VideoFacts

ALGORITHM = 1  # raised when the same plan would give other pictures: old parts are then not joined to new ones
OWN_SCALE = 2  # of the embedded models, where nothing else is asked for
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
class Flash:
    """What FlashVSR finds on the machine."""

    weights: Weights
    architecture: Architecture
    precision: Precision  # in which the device runs it fastest
    pace: float  # 10¹² operations a second of large matrices in that precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the plan may ask of the machine."""

    device: str  # "cpu", "cuda:0", ...
    precision: Precision  # in which the device convolves fastest
    ncnn: bool  # can be imported
    encoders: tuple[str, ...]
    flash: Flash | None = None
    obstacle: str = "no FlashVSR weights"  # what stands in the way of taking flashvsr unasked, "" if nothing does


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
    flash: FlashPlan | None = None  # of the model flashvsr

    @property
    def what(self) -> str:
        """The model, its backend and precision, and why it was taken if it was not named."""
        return f"{self.model}, {self.backend} {self.precision}" + (f" ({self.why})" if self.why else "")


def make_plan(options: Options, facts: VideoFacts, machine: Machine) -> UpscalePlan:
    """Give the plan for one video.

    Raises Rejected where the options cannot be met for these facts, Unavailable where this machine cannot.
    """
    options, why = settled(options, machine)
    backend, precision = choose_backend(options, machine)
    passes, width, height = enlarge(options, facts)
    encoder, warnings = choose_encoder(options, facts, machine.encoders, width, height)
    sizes = pad(passes, width, height, encoder.pixel_format)
    if (sizes.padded_width, sizes.padded_height) != (width, height):
        encoder = replace(encoder, width=sizes.padded_width, height=sizes.padded_height)
        warnings += (
            f"{width}x{height} is odd, which {encoder.pixel_format} cannot store: "
            f"the last row or column is repeated to {encoder.width}x{encoder.height}",
        )
    if options.model == "flashvsr" and machine.flash:
        warnings += machine.flash.weights.warnings
    container = choose_container(options, facts, encoder)
    kind = machine.device.partition(":")[0]
    parts = segments(options, facts, machine)
    return UpscalePlan(
        unit="frame",
        segments=parts,
        part_suffix=".mp4",
        result_suffix=container.suffix,
        warnings=warnings + container.warnings,
        why=why,
        algorithm=ALGORITHM,
        facts=facts,
        model=options.model,
        weights_sha256=weights_sha256(options, machine),
        backend=backend,
        precision=precision,
        device_kind=kind,
        sizes=sizes,
        encoder=encoder,
        container=container,
        flash=flash_part(options, facts, machine, passes, parts),
    )


def settled(options: Options, machine: Machine) -> tuple[Options, str]:
    """Give `options` with a model in place of auto, and why that one, "" where it was named."""
    built_in = "backend ncnn is asked for" if options.backend == "ncnn" else ""
    choice = resolve(options.model, built_in, machine.obstacle)
    return options.model_copy(update={"model": choice.model}), choice.why


def choose_backend(options: Options, machine: Machine) -> tuple[Backend, Precision]:
    """Give what computes, and in which numbers.

    `auto` takes ncnn on a CPU for photo (1.5 times as fast as torch in bf16, 2.9 times as in fp32) and
    for every model where the CPU lacks bf16 (1.5 to 2.9 times); else torch, which is as fast.
    Raises Unavailable if what was asked for is not here.
    """
    cuda = machine.device.startswith("cuda")
    if options.precision == "fp16" and not cuda:
        raise Unavailable("precision fp16: CPUs do not compute in it; set precision: auto")
    if options.model == "flashvsr":
        if machine.flash is None:
            raise Unavailable(f"model flashvsr: {machine.obstacle}; set another model")
        return "torch", machine.flash.precision if options.precision == "auto" else options.precision
    if options.backend == "ncnn" and cuda:
        raise Unavailable(f"backend ncnn: computes on the CPU, not on {machine.device}; set backend: auto")
    if options.backend == "ncnn" and not machine.ncnn:
        raise Unavailable("backend ncnn: not installed; pip install 'darkroomd[ncnn]', or set backend: auto")
    precision = machine.precision if options.precision == "auto" else options.precision
    exact_is_faster = machine.ncnn and not cuda and (precision == "fp32" or options.model == "photo")
    if options.backend == "ncnn" or (
        options.backend == "auto" and exact_is_faster and options.precision in ("auto", "fp32")
    ):
        return "ncnn", "fp32"
    return "torch", precision


def flash_part(
    options: Options, facts: VideoFacts, machine: Machine, passes: tuple[int, ...], parts: tuple[Segment, ...]
) -> FlashPlan | None:
    """Give what FlashVSR is to do, None for any other model."""
    if options.model != "flashvsr" or machine.flash is None:
        return None
    return flash_plan(
        options.flashvsr,
        options.memory,
        facts,
        version=machine.flash.weights.version,
        architecture=machine.flash.architecture,
        scale=passes[0],
        parts=parts,
    )


def weights_sha256(options: Options, machine: Machine) -> str:
    """Give the digest that names the weights."""
    return (
        machine.flash.weights.sha256 if options.model == "flashvsr" and machine.flash else MODELS[options.model].sha256
    )


def enlarge(options: Options, facts: VideoFacts) -> tuple[tuple[int, ...], int, int]:
    """Give the passes of the net, and the width and height they (and a reduction after them) lead to.

    `target_height` counts lines as seen: of a picture lying on its side, the columns as stored. The
    other side keeps the aspect to the nearest even number.
    Raises Rejected if there is nothing to enlarge, or too much.
    """
    width, height = facts.width, facts.height
    flash = options.model == "flashvsr"
    scales, own, largest = (
        (SCALES, TRAINED_SCALE, TRAINED_SCALE) if flash else (MODELS[options.model].scales, OWN_SCALE, LARGEST_FACTOR)
    )
    if options.target_height is None:
        factor = Fraction(options.scale or own)
        return passes(factor, scales), int(width * factor), int(height * factor)
    lying = facts.rotation in (90, 270)
    lines = width if lying else height
    factor = Fraction(options.target_height, lines)
    name = facts.source.name
    if factor <= 1:
        raise Rejected(
            f"{name}: has {lines} lines, {options.target_height} are asked for: nothing to do; raise target_height"
        )
    if factor > largest:
        raise Rejected(
            f"{name}: {options.target_height} lines from {lines} is more than {largest} times;"
            f" lower target_height to {largest * lines}"
        )
    across = 2 * round((height if lying else width) * factor / 2)
    size = (options.target_height, across) if lying else (across, options.target_height)
    return passes(factor, scales), *size


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


def segment_frames(options: Options, facts: VideoFacts, machine: Machine) -> int:
    """Give the length of a segment: about SEGMENT_S of work, or as the options say."""
    growth, _, _ = enlarge(options, facts)
    if options.model == "flashvsr" and machine.flash:
        found = machine.flash
        work_s = flash_seconds(options.flashvsr, found.architecture, facts, growth[0], found.pace)
    else:
        _, precision = choose_backend(options, machine)
        work_s = seconds_per_frame(
            MODELS[options.model], growth, facts, GMACS[machine.device.partition(":")[0], precision]
        )
    return options.segment_frames or max(SHORTEST_SEGMENT, round(SEGMENT_S / work_s))


def segments(options: Options, facts: VideoFacts, machine: Machine) -> tuple[Segment, ...]:
    """Cut the frames into segments."""
    size = segment_frames(options, facts, machine)
    return cut_into(facts, size) if options.model == "flashvsr" else split(facts.frames, size)


def wanted_cuts(options: Options, facts: VideoFacts, machine: Machine) -> tuple[int, ...]:
    """Give the frames near which it is worth to know where a scene begins: none for models without memory."""
    options, _ = settled(options, machine)
    return edges(facts, segment_frames(options, facts, machine)) if options.model == "flashvsr" else ()
