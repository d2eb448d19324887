"""The widths of FlashVSR, read off its weights, and the names and shapes of all tensors that follow from them"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["dit", "lq", "decoder", "vae", "prompt"]
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

HEAD_WIDTH = 128
LATENT = 16  # channels of a latent
PATCH = 2  # latent pixels: both sides of a token
LQ_CHANNELS = 3 * 16 * 16  # of a low-quality frame, space-to-depth
CONDITION = 3 * 4 * 8 * 8  # of four low-quality frames, as the small decoder sees them
LQ_TAPS = 4  # frames that a kernel of the projection sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """All that sets one set of weights apart from another in shape; what is not here is the same in all."""

    width: int  # numbers of a token
    heads: int
    layers: int
    ffn: int
    text_width: int  # numbers of a position of the prompt
    text_tokens: int
    freq_width: int  # numbers of the timestep's embedding
    lq_hidden: tuple[int, int]  # channels behind the two convolutions of the projection
    decoder_channels: tuple[int, int, int, int]  # of the small decoder, from latent to picture
    vae_base: int  # channels of the large decoder before the picture


OFFICIAL = Architecture(
    width=1536,
    heads=12,
    layers=30,
    ffn=8960,
    text_width=4096,
    text_tokens=512,
    freq_width=256,
    lq_hidden=(2048, 3072),
    decoder_channels=(512, 256, 128, 128),
    vae_base=96,
)


def of_shapes(
    dit: Shapes,
    lq: Shapes,
    decoder: Shapes | None,
    vae: Shapes | None,
    heads: int | None = None,
    *,
    text_tokens: int = OFFICIAL.text_tokens,
) -> Architecture:
    """Give the architecture of weights with these shapes, as far as single tensors tell it.

    dit, lq, decoder, vae:  shape by key; of a decoder that is not there the official widths are given
    heads:                  None: one for each 128 of the width

    Raises ValueError where a tensor that tells a width is missing or has too few dimensions, or the width is no
    multiple of 128. Whether all other tensors agree is for `expected_keys` to say.
    """
    width = _side(dit, "patch_embedding.weight", 0)
    if heads is None and width % HEAD_WIDTH:
        raise ValueError(f"width {width} is no multiple of {HEAD_WIDTH}, the width of a head")
    blocks = {key.split(".")[1] for key in dit if key.startswith("blocks.")}
    channels = OFFICIAL.decoder_channels
    if decoder is not None:
        first, second, third, fourth = (_side(decoder, f"decoder.{index}.weight", 0) for index in (1, 10, 16, 22))
        channels = first, second, third, fourth
    return Architecture(
        width=width,
        heads=heads or width // HEAD_WIDTH,
        layers=len(blocks),
        ffn=_side(dit, "blocks.0.ffn.0.weight", 0),
        text_width=_side(dit, "text_embedding.0.weight", 1),
        text_tokens=text_tokens,
        freq_width=_side(dit, "time_embedding.0.weight", 1),
        lq_hidden=(_side(lq, "conv1.weight", 0), _side(lq, "conv2.weight", 0)),
        decoder_channels=channels,
        vae_base=OFFICIAL.vae_base if vae is None else _side(vae, "decoder.head.0.gamma", 0),
    )


def expected_keys(a: Architecture) -> dict[Role, dict[str, Shape]]:
    """Give name and shape of every tensor of each file, under the official names.

    Of the large decoder's file those are given that decode (`decoder.*`, `conv2.*`): the rest of it is not used.
    The prompt is one tensor; its published file has no name for it.
    """
    return {
        "dit": dict(_dit(a)),
        "lq": dict(_lq(a)),
        "decoder": dict(_decoder(a)),
        "vae": dict(_vae(a.vae_base)),
        "prompt": {"prompt": (1, a.text_tokens, a.text_width)},
    }


def _side(shapes: Shapes, key: str, dimension: int) -> int:
    shape = shapes.get(key, ())
    if len(shape) <= dimension:
        raise ValueError(f"no tensor {key}" if not shape else f"{key} has the shape {list(shape)}")
    return shape[dimension]


def _pair(name: str, *shape: int) -> Iterator[tuple[str, Shape]]:
    """Yield a weight and its bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _dit(a: Architecture) -> Iterator[tuple[str, Shape]]:
    width = a.width
    yield from _pair("patch_embedding", width, LATENT, 1, PATCH, PATCH)
    for name, inner in (("text_embedding", a.text_width), ("time_embedding", a.freq_width)):
        yield from _pair(f"{name}.0", width, inner)
        yield from _pair(f"{name}.2", width, width)
    yield from _pair("time_projection.1", 6 * width, width)
    for index in range(a.layers):
        block = f"blocks.{index}"
        yield f"{block}.modulation", (1, 6, width)
        for attention in ("self_attn", "cross_attn"):
            for name in ("q", "k", "v", "o"):
                yield from _pair(f"{block}.{attention}.{name}", width, width)
            yield f"{block}.{attention}.norm_q.weight", (width,)
            yield f"{block}.{attention}.norm_k.weight", (width,)
        yield from _pair(f"{block}.norm3", width)
        yield from _pair(f"{block}.ffn.0", a.ffn, width)
        yield from _pair(f"{block}.ffn.2", width, a.ffn)
    yield "head.modulation", (1, 2, width)
    yield from _pair("head.head", LATENT * PATCH * PATCH, width)


def _lq(a: Architecture) -> Iterator[tuple[str, Shape]]:
    first, second = a.lq_hidden
    yield from _pair("conv1", first, LQ_CHANNELS, LQ_TAPS, 3, 3)
    yield "norm1.gamma", (first, 1, 1, 1)
    yield from _pair("conv2", second, first, LQ_TAPS, 3, 3)
    yield "norm2.gamma", (second, 1, 1, 1)
    yield from _pair("linear_layers.0", a.width, second)


def _decoder(a: Architecture) -> Iterator[tuple[str, Shape]]:
    first, second, third, fourth = a.decoder_channels
    yield from _pair("decoder.1", first, CONDITION + LATENT, 3, 3)
    yield "decoder.3.weight", (first, first, 3, 3)
    # Three blocks with memory, then a layer that doubles time (or keeps it), then one that narrows.
    for start, channels, grow, narrow in ((5, first, 1, second), (11, second, 2, third), (17, third, 2, fourth)):
        for index in range(start, start + 3):
            yield from _pair(f"decoder.{index}.conv.0", channels, 2 * channels, 3, 3)
            yield from _pair(f"decoder.{index}.conv.2", channels, channels, 3, 3)
            yield from _pair(f"decoder.{index}.conv.4", channels, channels, 3, 3)
        yield f"decoder.{start + 4}.conv.weight", (grow * channels, channels, 1, 1)
        yield f"decoder.{start + 5}.weight", (narrow, channels, 3, 3)
    yield "decoder.24.weight", (fourth, fourth, 3, 3)
    yield from _pair("decoder.26", 3, fourth, 3, 3)


def _vae(base: int) -> Iterator[tuple[str, Shape]]:
    wide, middle = 4 * base, 2 * base
    yield from _pair("conv2", LATENT, LATENT, 1, 1, 1)
    yield from _pair("decoder.conv1", wide, LATENT, 3, 3, 3)
    for name in ("decoder.middle.0", "decoder.middle.2"):
        yield from _residual(name, wide, wide)
    yield "decoder.middle.1.norm.gamma", (wide, 1, 1)
    yield from _pair("decoder.middle.1.to_qkv", 3 * wide, wide, 1, 1)
    yield from _pair("decoder.middle.1.proj", wide, wide, 1, 1)
    ways = {
        4: (middle, wide),
        **dict.fromkeys((8, 9, 10), (middle, middle)),
        **dict.fromkeys((12, 13, 14), (base, base)),
    }
    for index in range(15):
        name = f"decoder.upsamples.{index}"
        if index in (3, 7):
            yield from _pair(f"{name}.resample.1", middle, wide, 3, 3)
            yield from _pair(f"{name}.time_conv", 2 * wide, wide, 3, 1, 1)
        elif index == 11:
            yield from _pair(f"{name}.resample.1", base, middle, 3, 3)
        else:
            yield from _residual(name, *ways.get(index, (wide, wide)))
    yield "decoder.head.0.gamma", (base, 1, 1, 1)
    yield from _pair("decoder.head.2", 3, base, 3, 3, 3)


def _residual(name: str, before: int, after: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.residual.0.gamma", (before, 1, 1, 1)
    yield from _pair(f"{name}.residual.2", after, before, 3, 3, 3)
    yield f"{name}.residual.3.gamma", (after, 1, 1, 1)
    yield from _pair(f"{name}.residual.6", after, after, 3, 3, 3)
    if before != after:
        yield from _pair(f"{name}.shortcut", after, before, 1, 1, 1)
