"""Which videos fit which card by the planner's estimate: `python -m` prints the table of docs/animate.md"""

from collections.abc import Iterator
from typing import get_args

from darkroom.pipelines.animate.memory import Bytes, Demand, Offload, Placement, Profile, begin, card, decide, estimate
from darkroom.pipelines.animate.options import CardSize, MemoryOptions
from darkroom.pipelines.animate.sizes import NAMED, TRAINED_FRAMES, Size
from darkroom.pipelines.animate.weights import Architecture

OFFICIAL = Architecture(  # of Wan2.1-I2V-14B
    layers=40,
    heads=40,
    head_width=128,
    ffn_width=13824,
    text_width=4096,
    image_width=1280,
    in_channels=36,
    latent_channels=16,
    patch=(1, 2, 2),
    temporal_scale=4,
    spatial_scale=8,
)
HOST_BYTES = 128 << 30
WAYS: tuple[Offload, ...] = ("none", "model", "blocks")
HEADER = ("profile", "video", "weights", "way of running", "reading", "denoising", "decoding", "host")


def demand(size: Size, frames: int = TRAINED_FRAMES) -> Demand:
    """Give what a video of the real model is planned with."""
    return Demand(
        architecture=OFFICIAL,
        size=size,
        frames=frames,
        text_numbers=5_680_000_000,
        image_numbers=632_000_000,
        vae_numbers=127_000_000,
    )


def rows() -> Iterator[tuple[str, ...]]:
    """Yield for each profile and size the cells under HEADER; sizes in GiB, 81 frames, guided, all else at defaults."""
    for profile in get_args(CardSize):
        if profile == "auto":
            continue
        for sides in NAMED.values():
            for options in (MemoryOptions(profile=profile), MemoryOptions(profile=profile, quantize="int8")):
                yield row(options, Size(*sides))


def row(options: MemoryOptions, size: Size) -> tuple[str, ...]:
    """Give the cells for one card and size."""
    wanted, budget = demand(size), card(options, 0)
    profile = decide(
        options,
        wanted,
        WAYS,
        precision="bf16",
        attention="sdpa",
        device_bytes=budget,
        host_bytes=HOST_BYTES,
        on_cpu=False,
    )
    placement = begin(profile, WAYS, lambda one: estimate(wanted, profile, one), budget)
    need = estimate(wanted, profile, placement)
    weights = "bf16" if profile.quantize == "none" else profile.quantize
    return (options.profile, str(size), weights, words(profile, placement), *gib(need))


def words(profile: Profile, placement: Placement) -> str:
    """Say what is where."""
    return placement.what + ("" if profile.text_on_device else ", prompt read on the CPU")


def gib(need: Bytes) -> tuple[str, ...]:
    """Give the sizes in GiB."""
    return tuple(f"{value / 2**30:.1f}" for value in (need.reading, need.denoising, need.decoding, need.host))


def table() -> str:
    """Give the rows as a table in Markdown."""
    lines = [HEADER, ("---",) * len(HEADER), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
