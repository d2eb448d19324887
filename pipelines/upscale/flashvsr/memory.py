"""How many bytes FlashVSR needs for a size, and the ladder of ways to need fewer

Estimates from the architecture alone: nothing is loaded or asked. They follow what the code holds at its widest
point, the first chunk of a stream (25 frames in, 6 latents); two bytes a number in bf16. H, W pixels of what runs
at once (the frame or one tile), h = H/16, w = W/16, N = 6·h·w tokens, D the width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from math import ceil, prod
from typing import Any

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.architecture import LQ_CHANNELS, Architecture, expected_keys
from darkroom.pipelines.upscale.flashvsr.options import MemoryOptions, Variant

GRID = 128  # pixels: both sides of what runs at once are multiples
FIRST_LATENTS, FIRST_SLICES, FIRST_FRAMES = 6, 3, 25  # of the first chunk, the largest
STRIP_HALO = 12  # rows that a strip computes beyond its own, at full size
FFN_ROWS = 16_896  # tokens that the feed-forward layer takes together (dit.py)
SLACK = 512 << 20  # workspaces of the libraries
FRAGMENTED = Fraction(1, 16)  # of all else: gaps that the allocator cannot use
CONTEXT = 512 << 20  # of the driver, on a card that nothing else uses
TILES = (512, 384, 256, 192, 128)  # source pixels
VAE_TILE = (480, 832)  # pixels of the large decoder's tiles: 60 x 104 latents


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One way of running: what is kept where, and what is done in pieces."""

    kv_offload: bool = False  # keys and values in host memory, those of one layer on the device
    decoder_at_once: int | None = None  # latents decoded together; None: all of a chunk
    decoder_strips: int = 1  # of the last stages; of the large decoder, more than one means its tiles
    unload_dit: bool = False  # the transformer's blocks in host memory, the one that computes on the device
    tile: int | None = None  # side in source pixels; None: the whole frame
    overlap: int = 0  # source pixels shared by neighbouring tiles

    def words(self) -> str:
        """Say it in a few words, for the log and the status."""
        said = [
            "whole frames" if self.tile is None else f"tiles of {self.tile}, {self.overlap} shared",
            "keys and values in host memory" if self.kv_offload else "",
            {None: "", 1: "latents decoded one by one"}.get(self.decoder_at_once, "latents decoded two by two"),
            f"decoder in {self.decoder_strips} strips" if self.decoder_strips > 1 else "",
            "transformer in host memory" if self.unload_dit else "",
        ]
        return ", ".join(filter(None, said))

    def values(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is to be run: the model, and the frames as the source has them."""

    architecture: Architecture
    variant: Variant = "tiny"
    dtype_bytes: int = 2
    kv_windows: int = 3
    height: int  # of the source's frames
    width: int
    scale: Fraction

    def network_size(self, profile: Profile) -> tuple[int, int]:
        """Give height and width in pixels of what runs at once under `profile`: on the grid, never cut."""
        sides = (min(side, profile.tile or side) for side in (self.height, self.width))
        height, width = (ceil(max(1, round(side * self.scale)) / GRID) * GRID for side in sides)
        return height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """An estimate by parts. Those of `denoise` and `decode` do not exist at the same time."""

    dit: int  # weights on the device, the prompt's keys and values included
    projection: int
    decoder: int
    ring: int  # keys and values of the slices remembered
    pictures: int  # frames taken in and given out
    denoise: int  # activations of projection and transformer
    decode: int  # activations and memory of the decoder, and of the colour correction
    slack: int
    host: int = 0  # host memory; not in the total

    @property
    def total(self) -> int:
        """Device memory at the widest point."""
        steady = self.dit + self.projection + self.decoder + self.ring + self.pictures
        return steady + max(self.denoise, self.decode) + self.slack


def weights(a: Architecture) -> tuple[int, int, int, int, int]:
    """Count the numbers in the blocks of the DiT, in the rest of it, in the projection, the small and large decoder."""
    counts = {role: {key: prod(shape) for key, shape in keys.items()} for role, keys in expected_keys(a).items()}
    blocks = sum(count for key, count in counts["dit"].items() if key.startswith("blocks."))
    rest = sum(counts["dit"].values()) - blocks
    return blocks, rest, sum(counts["lq"].values()), sum(counts["decoder"].values()), sum(counts["vae"].values())


def prompt_bytes(a: Architecture, dtype_bytes: int) -> int:
    """Give the bytes of the prompt's keys and values in all layers."""
    return a.layers * 2 * a.text_tokens * a.width * dtype_bytes


def pinned(size_bytes: int) -> int:
    """Give what a tensor takes in pinned host memory: torch rounds each up to a power of two, to use it again."""
    return 1 << (size_bytes - 1).bit_length()


def _block(a: Architecture) -> Iterator[int]:
    """Yield how many numbers each tensor of a block holds, as it is kept ready to run."""
    square = a.width**2
    yield from (3 * square, square, square, square, a.width * a.ffn, a.width * a.ffn)
    yield from (a.text_tokens * a.width, a.text_tokens * a.width)  # the prompt's keys and values
    yield from (3 * a.width, a.width, a.width, a.width, a.ffn, a.width)  # biases
    yield from (6 * a.width, 2 * a.width, a.width, a.width, a.width)  # modulation, norms


def slice_bytes(a: Architecture, height: int, width: int, dtype_bytes: int) -> int:
    """Give the bytes of the keys and values of one slice (8 frames) in all layers, the windows' mean keys included."""
    tokens = 2 * (height // 16) * (width // 16)
    return a.layers * 2 * tokens * a.width * dtype_bytes + a.layers * (tokens // 128) * a.width * dtype_bytes


def estimate(demand: Demand, profile: Profile) -> Bytes:
    """Give the bytes that `demand` needs when run as `profile` says."""
    a, size = demand.architecture, demand.dtype_bytes
    height, width = demand.network_size(profile)
    pixels = height * width
    slots = max(FIRST_SLICES, max(2, demand.kv_windows) + 1)
    ring = slots * slice_bytes(a, height, width, size)
    blocks, rest, projection, small, large = (count * size for count in weights(a))
    blocks += prompt_bytes(a, size)
    block = min(2, a.layers) * blocks // a.layers  # the one that computes, and the next on its way
    # Taken in (25, and 4 carried over); as the decoder's condition, its result, and that in [-1, 1] (24 each).
    pictures = 3 * pixels * (FIRST_FRAMES + 4 + 3 * 24) * size
    full = demand.variant == "full"
    decode = _vae_bytes(a, height, width, size, profile) if full else _tcdecoder_bytes(a, height, width, size, profile)
    parts = {
        "dit": (block if profile.unload_dit else blocks) + rest,
        "projection": projection,
        "decoder": large if full else small,
        "ring": ring // a.layers if profile.kv_offload else ring,
        "pictures": pictures,
        "denoise": max(_projection_bytes(a, pixels, size), _dit_bytes(a, pixels, size, slots)),
        "decode": max(decode, 5 * 3 * pixels * 21 * 4),  # or the colours: frames, reference, three between, fp32
    }
    keys = slots * 2 * (pixels // 256) * a.width * size  # of one layer, as many bytes as its values
    host = 2 * a.layers * pinned(keys) if profile.kv_offload else 0
    host += a.layers * sum(pinned(count * size) for count in _block(a)) if profile.unload_dit else 0
    if full and profile.decoder_strips > 1:  # each tile's memory waits there; tiles overlap by half both ways
        host += 4 * _vae_memory(a) * pixels * size
    return Bytes(**parts, slack=SLACK + int(FRAGMENTED * sum(parts.values())), host=host)


def _dit_bytes(a: Architecture, pixels: int, size: int, slots: int) -> int:
    tokens, windows = FIRST_LATENTS * pixels // 256, pixels // GRID**2
    attending = 8 * tokens * a.width  # x, its norm, q|k|v (3), q turned, the result, the projection's tokens
    feeding = 4 * tokens * a.width + 2 * min(tokens, FFN_ROWS) * a.ffn  # the wide layer before and after GELU
    tables = tokens * (a.width // a.heads) * 12  # angles in fp64, cosines and sines in fp32
    pairs = max(FIRST_SLICES * FIRST_SLICES, slots) * windows * windows
    return max(attending, feeding) * size + tables + a.heads * pairs * 5  # fp32 scores and the mask


def _projection_bytes(a: Architecture, pixels: int, size: int) -> int:
    first, second = a.lq_hidden
    patches, latents, frames = pixels // 256, 2, 8  # that are projected together, in the first chunk too
    taken = LQ_CHANNELS * (frames + 2)
    # Four frames stacked in channels for each output, once more with a border; outputs before and after the norm.
    one = taken + 2 * (frames // 2) * 4 * LQ_CHANNELS + 2 * (frames // 2) * first
    two = taken + (frames // 2 + 2) * first + latents * (2 * 4 * first + 2 * second)
    return max(one, two) * patches * size


def _tcdecoder_bytes(a: Architecture, height: int, width: int, size: int, profile: Profile) -> int:
    (c0, c1, c2, c3), pixels = a.decoder_channels, height * width
    latents = min(profile.decoder_at_once or FIRST_LATENTS, FIRST_LATENTS)
    trunk = (
        7 * max(c0 * pixels // 64, c1 * pixels // 16) * latents
    )  # a memory block: input, past, both at once, three results
    kept = c2 * 2 * latents * pixels // 4  # what the strips are cut from, at 4x
    last = 9 * c3 * latents * pixels  # 4 frames a latent at full size: a layer's input and output, and a quarter more
    memory = 3 * (c0 * pixels // 64 + c1 * pixels // 16 + c2 * pixels // 4)
    share = min(Fraction(1), Fraction(1, profile.decoder_strips) + Fraction(STRIP_HALO, height))
    return (trunk + kept + int(share * last) + memory) * size


def _vae_bytes(a: Architecture, height: int, width: int, size: int, profile: Profile) -> int:
    tiled = profile.decoder_strips > 1
    pixels = min(height, VAE_TILE[0]) * min(width, VAE_TILE[1]) if tiled else height * width
    # A chunk's two latents one by one: what the chunk before left, what the first leaves, what the second will.
    memories = 3 * _vae_memory(a) * pixels
    working = 26 * a.vae_base * pixels  # a block's input, normed (3 copies), with its past, convolved: 4 frames, and 6
    sums = 2 * 3 * 4 * height * width * 4 if tiled else 0  # weighted, in fp32
    return (memories + working) * size + sums


def _vae_memory(a: Architecture) -> int:
    """Count what the causal convolutions remember for each pixel: two frames of the input of each."""
    full, half, quarter, eighth = 7 * a.vae_base, 6 * 2 * a.vae_base, 6 * 4 * a.vae_base, 10 * 4 * a.vae_base
    return 2 * (full + half // 4 + quarter // 16 + eighth // 64)


# -- the ladder ------------------------------------------------------------------------------------------------------


def ladder(
    options: MemoryOptions,
    demand: Demand,
    *,
    cuda: bool = True,
    device_bytes: int = 0,
    host_bytes: int | None = None,
) -> tuple[Profile, ...]:
    """Give the ways of running that `options` allow, from the fastest down; each needs no more than the one before.

    What costs next to nothing comes first: fewer latents at once, strips of the small decoder. Then what costs
    transfers: keys and values in host memory, the transformer there. What changes pictures comes last: tiles of the
    large decoder just before the transformer moves, then tiles of the whole model, smaller and smaller.

    cuda:          False for a CPU: there is no host memory to move things to
    device_bytes:  size of the device, for kv_offload_threshold
    host_bytes:    host memory that may be taken; what needs more is left out, unless it is set. None: any
    """
    small = options.kv_offload_threshold is not None and device_bytes <= options.kv_offload_threshold
    offload = options.kv_offload == "cpu" or (options.kv_offload == "auto" and small)
    full = demand.variant == "full"
    rungs = [
        Profile(
            kv_offload=cuda and offload,
            decoder_strips=2 if options.tiled_vae is True else 1,
            unload_dit=cuda and options.unload_dit is True,
            **(tiling(options, options.tile_size or TILES[0]) if options.tiled_dit is True else {}),
        )
    ]
    steps: list[dict[str, Any]] = [] if full else [{"decoder_at_once": 2}, {"decoder_at_once": 1}]
    if options.tiled_vae is not False and not full:
        steps += [{"decoder_strips": strips} for strips in (2, 4, 8)]
    if cuda and options.kv_offload == "auto":
        steps.append({"kv_offload": True})
    if options.tiled_vae is not False and full:
        steps.append({"decoder_strips": 2})
    if cuda and options.unload_dit == "auto":
        steps.append({"unload_dit": True})
    if options.tiled_dit is not False:
        sizes = (options.tile_size,) if options.tile_size else TILES
        # What was too large for the host as a whole may fit tile by tile.
        moved = {"kv_offload": options.kv_offload != "none", "unload_dit": options.unload_dit is not False}
        for size in sizes:
            if size < max(demand.height, demand.width):
                steps += [{**tiling(options, size), **(moved if cuda else {})}, tiling(options, size)]
    for step in steps:
        if _lower(demand, replace(rungs[-1], **step), rungs[-1], host_bytes):
            rungs.append(replace(rungs[-1], **step))
    return tuple(rungs)


def _lower(demand: Demand, rung: Profile, above: Profile, host_bytes: int | None) -> bool:
    """Tell whether `rung` is another than `above`, needs no more of the device, and has room in host memory.

    It may need more: small frames gain nothing from tiles of the large decoder, and lose by their sums.
    """
    need = estimate(demand, rung)
    roomy = host_bytes is None or need.host <= max(host_bytes, estimate(demand, above).host)
    return rung != above and need.total <= estimate(demand, above).total and roomy


def tiling(options: MemoryOptions, size: int) -> dict[str, Any]:
    """Give size and overlap of tiles of `size` source pixels, as fields of a profile."""
    return {"tile": size, "overlap": shared(options, size)}


def shared(options: MemoryOptions, size: int) -> int:
    """Give the source pixels that tiles of `size` share: what is set, else a quarter, 64 at least; at most half."""
    return min(options.tile_overlap or max(64, size // 4), size // 2)  # 24 pixels show on faces


def fit(rungs: Iterable[Profile], need: Callable[[Profile], Bytes], budget: int) -> Profile:
    """Give the first of `rungs` whose estimate is within `budget` bytes. Raises Unavailable with the numbers."""
    least: Bytes | None = None
    for rung in rungs:
        if (least := need(rung)).total <= budget:
            return rung
    raise Unavailable(f"flashvsr: {too_much(least, budget) if least else 'no way of running is allowed'}")


def too_much(least: Bytes, budget: int) -> str:
    """Say that even the smallest estimate is over the budget, and what would help."""
    return (
        f"needs about {least.total / 2**30:.1f} GiB of device memory at least, {budget / 2**30:.1f} GiB may be used;"
        " free the device, raise memory.limit, allow what memory.* forbids, or set model: photo"
    )


def below(rung: Profile, rungs: Sequence[Profile]) -> Profile | None:
    """Give the next rung under `rung`, None under the last. Raises ValueError if it is not one of `rungs`."""
    at = rungs.index(rung) + 1
    return rungs[at] if at < len(rungs) else None


def start(fitting: Profile, remembered: Profile | None, rungs: Sequence[Profile]) -> Profile:
    """Give where to begin: at what fits by the estimate, or at what was remembered where that is further down."""
    if remembered is None or remembered not in rungs:  # of other options
        return fitting
    return max(fitting, remembered, key=rungs.index)


def budget(options: MemoryOptions, free_bytes: int) -> int:
    """Give the bytes that a plan may use: of the card that `profile` names, or of those that are free now.

    free_bytes: of the device, with what this process holds: its weights are in the estimates too
    """
    card = free_bytes if options.profile == "auto" else (int(options.profile.removesuffix("GB")) << 30) - CONTEXT
    return min(card, options.limit or card)


def profile_of(values: Any) -> Profile | None:
    """Give the profile that was stored as `values()`, None if this version does not know such a one."""
    known = {field.name for field in fields(Profile)}
    return Profile(**values) if isinstance(values, dict) and values.keys() == known else None
