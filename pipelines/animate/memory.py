"""How many bytes a video needs, what fits which card, and the ladder of ways to need fewer

Estimates from the architecture alone: nothing is loaded or asked. Bytes for each token and pixel are those that
published runs and other programs came to; none was measured here on a GPU.

What changes the numbers (8 bits, tiles, where the prompt is read) rests on the size of the card and is part of the
plan, so that a job that goes on is the one that began. What does not (weights in host memory) rests on what is free.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from darkroom.pipelines.animate.options import MemoryOptions
from darkroom.pipelines.animate.sizes import Size, tokens
from darkroom.pipelines.animate.weights import Architecture
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.memory import CONTEXT, FRAGMENTED, SLACK, pinned

Stage = Literal["reading", "denoising", "decoding"]
Offload = Literal["none", "model", "blocks"]

ITEM = {"bf16": 2, "fp32": 4}
ACTIVATIONS = 15  # tensors as wide as the model that a block holds: 5 GB for 32,760 tokens, 11.5 GB for 75,600
VAE_BYTES = 7000 * 4  # for each pixel of a frame in fp32, as other programs reckon it: 11.2 GB for 832x480
VAE_TILE = 256  # pixels a side, as the library has it
STREAMED = 2  # blocks on the device at once: the one that computes, and the next on its way
HOST_RESERVE = 8 << 30  # of the whole machine, for everything else


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What of the way through memory changes the numbers: part of the plan."""

    precision: Literal["bf16", "fp32"] = "bf16"
    quantize: Literal["none", "fp8", "int8"] = "none"
    text_on_device: bool = False
    vae_tiled: bool = False
    attention: str = "sdpa"

    @property
    def what(self) -> str:
        """In a few words for people."""
        words = [self.precision if self.quantize == "none" else self.quantize, f"attention by {self.attention}"]
        return ", ".join(words + (["decoded in tiles"] if self.vae_tiled else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is where while a job runs.

    offload: "none": all models stay on the device; "model": each is there while it works; "blocks": likewise, and of
             the transformer only the block that works
    tiled:   the plan's, or since memory ran out
    """

    offload: Offload = "none"
    tiled: bool = False

    @property
    def what(self) -> str:
        """In a few words for people."""
        where = {
            "none": "all on the device",
            "model": "one model on the device",
            "blocks": "transformer in host memory",
        }
        return where[self.offload] + (", decoded in tiles" if self.tiled else "")

    def values(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is to be run."""

    architecture: Architecture
    size: Size
    frames: int
    text_numbers: int = 0  # of each model beside the transformer
    image_numbers: int = 0
    vae_numbers: int = 0
    lora_bytes: int = 0
    branches: int = 2  # passes in a step: with and without the prompt
    cached: bool = False  # self-attention kept from one step to the next
    ulysses: int = 1
    cfg: int = 1
    fsdp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """An estimate: device memory at the widest point of each stage, and host memory."""

    reading: int
    denoising: int
    decoding: int
    host: int

    @property
    def total(self) -> int:
        """Device memory at the widest point of all."""
        return max(self.reading, self.denoising, self.decoding)


def block_tensors(a: Architecture) -> tuple[int, ...]:
    """Give the size of each tensor of a block: 404 M numbers in all for the 14B model."""
    d, wide = a.heads * a.head_width, a.ffn_width
    squares = (d * d,) * 10  # self-attention's four, cross-attention's four, and two for the image
    vectors = (d,) * (10 + 5 + 2 + 1) + (wide, 6 * d)  # biases, norms of q and k, norm, feed-forward's biases, table
    return (*squares, d * wide, d * wide, *vectors)


def outer_numbers(a: Architecture) -> int:
    """Count what the transformer holds beside its blocks."""
    d, image, frequencies = a.heads * a.head_width, a.image_width, 256
    patch = a.patch[0] * a.patch[1] * a.patch[2]
    into, out = d * (patch * a.in_channels + 1), patch * a.latent_channels * (d + 1) + 2 * d
    time = d * (frequencies + 1) + d * (d + 1) + 6 * d * (d + 1)
    text = d * (a.text_width + 1) + d * (d + 1)
    seen = 2 * image + image * (image + 1) + d * (image + 1) + 2 * d
    return into + out + time + text + seen


def cache_bytes(demand: Demand, precision: str) -> int:
    """Give what keeping the self-attention of all blocks takes on each device."""
    a = demand.architecture
    length = tokens(demand.size, demand.frames) // demand.ulysses
    branches = max(1, demand.branches // demand.cfg)
    return length * a.heads * a.head_width * ITEM[precision] * a.layers * branches


def estimate(demand: Demand, profile: Profile, placement: Placement) -> Bytes:
    """Give the bytes that `demand` needs when run as `profile` and `placement` say."""
    a, item = demand.architecture, ITEM[profile.precision]
    numbers = sum(block_tensors(a))
    block = numbers * (item if profile.quantize == "none" else 1)
    outer = outer_numbers(a) * item + demand.lora_bytes
    devices = demand.ulysses * demand.cfg
    transformer = outer + a.layers * block // (devices if demand.fsdp else 1)
    streamed = outer + STREAMED * block
    if demand.fsdp:
        transformer += STREAMED * block  # gathered
    text = demand.text_numbers * item if profile.text_on_device else 0
    image, vae = demand.image_numbers * 4, demand.vae_numbers * 4
    pictures = _pictures(demand, placement.tiled)
    acting = ACTIVATIONS * tokens(demand.size, demand.frames) // demand.ulysses * a.heads * a.head_width * item
    acting += cache_bytes(demand, profile.precision) if demand.cached else 0
    if placement.offload == "none":
        kept = transformer + text + image + vae
        stages = (kept + pictures, kept + acting, kept + pictures)
    else:
        working = streamed if placement.offload == "blocks" else transformer
        stages = (max(text, image, vae + pictures), working + acting, vae + pictures)
    reading, denoising, decoding = (widest + SLACK + int(FRAGMENTED * widest) for widest in stages)
    per = item if profile.quantize == "none" else 1
    host = a.layers * sum(pinned(count * per) for count in block_tensors(a)) if placement.offload == "blocks" else 0
    return Bytes(reading=reading, denoising=denoising, decoding=decoding, host=host)


def _pictures(demand: Demand, tiled: bool) -> int:
    """Give what the VAE works in, either way."""
    pixels = demand.size.area
    if not tiled or pixels <= VAE_TILE**2:
        return VAE_BYTES * pixels
    # A tile at work; then all tiles, which overlap, the rows they are joined to, and the frames of these.
    return VAE_BYTES * VAE_TILE**2 + 3 * 3 * demand.frames * pixels * 4


# -- which way ---------------------------------------------------------------------------------------------------------


def card(options: MemoryOptions, total_bytes: int) -> int:
    """Give the bytes a plan may rest on: of the card that `profile` names, or of the device."""
    named = options.profile != "auto"
    return (int(options.profile.removesuffix("GB")) << 30 if named else total_bytes) - CONTEXT


def offloads(options: MemoryOptions, *, movable: bool, compiled: bool) -> tuple[Offload, ...]:
    """Give the ways that `options` allow, the fastest first.

    movable: the models may leave the device: it is no CPU, and the weights are not shared out among several
    """
    if options.offload != "auto":
        return (options.offload,) if movable else ("none",)
    if not movable:
        return ("none",)
    return ("none", "model") if compiled else ("none", "model", "blocks")


def decide(
    options: MemoryOptions,
    demand: Demand,
    allowed: Iterable[Offload],
    *,
    precision: Literal["bf16", "fp32"],
    attention: str,
    device_bytes: int,
    host_bytes: int,
    on_cpu: bool,
) -> Profile:
    """Give what of the way changes the numbers: as little as fits. Raises Unavailable with the numbers.

    device_bytes: what `card` gave
    host_bytes:   of the whole machine: with too few for the weights that are streamed, 8 bits are chosen where auto is
    """
    ways = tuple(allowed)
    on_device = options.text_encoder == "device" or on_cpu
    exact = Profile(precision=precision, attention=attention, vae_tiled=options.vae_tiles == "on")
    exact = replace(
        exact, quantize="none" if options.quantize == "auto" else options.quantize, text_on_device=on_device
    )
    if options.text_encoder == "auto" and not on_cpu:
        alone = estimate(demand, replace(exact, text_on_device=True), Placement(offload="model", tiled=True)).reading
        exact = replace(exact, text_on_device=alone <= device_bytes)
    profiles = [exact]
    if options.quantize == "auto" and not demand.fsdp:  # which wants weights of one type
        profiles.append(replace(exact, quantize="int8"))
    if options.vae_tiles == "auto":
        profiles = [tried for one in profiles for tried in (one, replace(one, vae_tiled=True))]
    least: Bytes | None = None
    for profile in profiles:
        for offload in ways:
            least = estimate(demand, profile, Placement(offload=offload, tiled=profile.vae_tiled))
            streams = offload != "blocks" or least.host + HOST_RESERVE <= host_bytes or options.offload == "blocks"
            if least.total <= device_bytes and streams:
                return profile
    assert least is not None, "one way at least is allowed"
    raise Unavailable(too_much(demand, profiles[-1], least, device_bytes))


def too_much(demand: Demand, profile: Profile, least: Bytes, device_bytes: int) -> str:
    """Say that even the smallest estimate is over what there is, and what would help."""
    told = f"{least.total / 2**30:.1f} GiB of device memory at least, {device_bytes / 2**30:.1f} GiB may be used"
    if demand.cached:
        kept = cache_bytes(demand, profile.precision) / 2**30
        return (
            f"animate: attention_cache keeps {kept:.1f} GiB, which makes {told}; leave it out, or set parallel.ulysses"
        )
    return f"animate: needs about {told}; free the device, allow what memory.* forbids, or make size or frames smaller"


def begin(
    profile: Profile, allowed: Iterable[Offload], need: Callable[[Placement], Bytes], free_bytes: int
) -> Placement:
    """Give the first of the `allowed` ways that fits what is free, the last one if none does: it may yet do."""
    placement = Placement(tiled=profile.vae_tiled)
    for offload in allowed:
        placement = replace(placement, offload=offload)
        if need(placement).total <= free_bytes:
            break
    return placement


def further(one: Placement, learned: Placement | None, allowed: tuple[Offload, ...], *, tiles: bool) -> Placement:
    """Give what needs least of two, in each thing that the options leave open; what was learned may be of others."""
    if learned is None:
        return one
    least = max(one.offload, learned.offload, key=allowed.index) if learned.offload in allowed else one.offload
    return Placement(offload=least, tiled=one.tiled or (tiles and learned.tiled))


def lighter(placement: Placement, stage: Stage, allowed: tuple[Offload, ...], *, tiles: bool) -> Placement | None:
    """Give the next way down the ladder that helps in `stage`, None where there is none.

    tiles: the VAE may work in tiles though the plan has none: the one step that changes pictures, and the last
    """
    below = allowed[allowed.index(placement.offload) + 1 :] if placement.offload in allowed else ()
    if stage == "denoising":
        return replace(placement, offload=below[0]) if below else None
    if below and placement.offload == "none":
        return replace(placement, offload=below[0])
    return replace(placement, tiled=True) if tiles and not placement.tiled else None


def placement_of(values: Any) -> Placement | None:
    """Give the placement that was stored as `values()`, None if this version does not know such a one."""
    known = {field.name for field in fields(Placement)}
    if not isinstance(values, dict) or not known <= values.keys():
        return None
    found = Placement(**{name: values[name] for name in known})
    return found if found.offload in ("none", "model", "blocks") and isinstance(found.tiled, bool) else None
