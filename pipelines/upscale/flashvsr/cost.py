"""Floating point operations of one chunk, stage by stage: what plans estimate with and what benchmarks divide by

A multiply-add counts two. Norms, gates and other work that moves more bytes than it computes are left out.
"""

from dataclasses import dataclass

from darkroom.pipelines.upscale.flashvsr.architecture import Architecture
from darkroom.pipelines.upscale.flashvsr.dit import Sparsity, topk_ratio
from darkroom.pipelines.upscale.flashvsr.options import Variant

WINDOW_TOKENS = 128
PATCH_PIXELS = 256  # of a token
TAPS_LQ = 4 * 3 * 3  # of the projection's convolutions


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Operations of one chunk."""

    linear: int  # q, k, v, o, cross q and o, feed-forward
    cross: int
    attention: int
    projection: int  # of the low-quality frames
    decoder: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.linear + self.cross + self.attention + self.projection + self.decoder


def chunk_cost(
    a: Architecture,
    height: int,
    width: int,
    *,
    sparse_ratio: float = 2.0,
    kv_windows: int = 3,
    variant: Variant = "tiny",
    first: bool = False,
) -> Cost:
    """Give the operations of a steady chunk (8 frames), or of the first one (21), for frames of height x width.

    The pairs of windows are those that the selection may keep at most: locality and ties leave fewer.
    """
    per_frame = height * width // PATCH_PIXELS  # tokens
    latents = 6 if first else 2
    tokens, windows = latents * per_frame, 2 * per_frame // WINDOW_TOKENS
    slices = latents // 2
    keys = (slices if first else max(2, kv_windows) + 1) * windows
    topk = Sparsity(topk_ratio=topk_ratio(sparse_ratio, height, width), local_range=11).topk(windows)
    pairs = slices * min(topk, windows * keys)
    h1, h2 = a.lq_hidden
    clip = 2 * 2 * per_frame * 768 * TAPS_LQ * h1, 2 * per_frame * h1 * TAPS_LQ * h2 + 2 * per_frame * h2 * a.width
    return Cost(
        linear=a.layers * tokens * 2 * (6 * a.width**2 + 2 * a.width * a.ffn),
        cross=a.layers * 4 * tokens * a.text_tokens * a.width,
        attention=a.layers * 4 * pairs * WINDOW_TOKENS**2 * a.width,
        projection=(latents + first) * clip[0] + latents * clip[1],  # the very first clip fills a memory only
        decoder=latents * (wan_latent if variant == "full" else tiny_latent)(a, height // 8, width // 8),
    )


def tiny_latent(a: Architecture, rows: int, columns: int) -> int:
    """Give the operations of the tiny decoder for one latent frame of rows x columns, its doublings unmerged."""
    c0, c1, c2, c3 = a.decoder_channels
    memory = 3 * 4 * 9  # three blocks of a 2C -> C and two C -> C convolutions
    sums = 9 * (784 * c0 + c0 * c0) + memory * c0 * c0
    sums += 4 * (c0 * c0 + 9 * c0 * c1 + memory * c1 * c1)
    sums += 16 * (2 * c1 * c1 + 2 * 9 * c1 * c2 + 2 * memory * c2 * c2)
    sums += 64 * (2 * 2 * c2 * c2 + 4 * 9 * (c2 * c3 + c3 * c3 + 3 * c3))
    return 2 * rows * columns * sums


def wan_latent(a: Architecture, rows: int, columns: int) -> int:
    """Give the operations of the Wan decoder for one latent frame of rows x columns, steady state."""
    b = a.vae_base
    pixels = rows * columns
    wide, half = 4 * b, 2 * b

    def residual(into: int, out: int) -> int:
        return 27 * (into * out + out * out) + (into * out if into != out else 0)

    sums = 16 * 16 + 27 * 16 * wide + 2 * residual(wide, wide) + 4 * wide * wide  # entry, middle
    sums += 3 * residual(wide, wide) + 3 * wide * 2 * wide  # one frame; time doubling
    sums += 2 * 4 * (9 * wide * half + residual(half, wide) + 2 * residual(wide, wide))
    sums += 2 * 4 * 3 * wide * 2 * wide
    sums += 4 * 16 * (9 * wide * half + 3 * residual(half, half))
    sums += 4 * 64 * (9 * half * b + 3 * residual(b, b) + 27 * b * 3)
    return 2 * pixels * sums + 4 * pixels * pixels * wide
