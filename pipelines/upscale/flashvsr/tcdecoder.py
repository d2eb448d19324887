"""From latents to frames by the tiny decoder, which sees the low-quality frames as well"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from darkroom.kernels.upsample_conv import merge_taps, upsample_conv, upsample_conv_plain

GROWTH = 4  # frames per latent
TRIM = 3  # frames that the first latent has too many: it stands for one frame
SCALE = 8  # pixels per latent pixel
STRIPPED = (
    2  # the stage, at 4x, from which on work goes by strips: a frame's tensors at 1x and 2x are small beside these
)

# What a strip needs of its neighbours: input rows that an output row sees above and below itself. Each block is
# stripped on its own and its input kept whole, so halos never add up, and what it remembers is one slice.
MEMORY_HALO = 3  # three 3x3 convolutions, one row each
EXIT_HALO = 2  # three 3x3 convolutions at twice the rows: new row 2y sees up to new row 2y - 3, a copy of row y - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """A 3x3 convolution with zero padding."""

    weight: Tensor  # [O, C, 3, 3], channels last
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """Give the convolution of `x`."""
        return F.conv2d(x, self.weight, self.bias, padding=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A residual block that sees each frame together with the one before ("MemBlock")."""

    convs: tuple[Conv, Conv, Conv]

    def __call__(self, x: Tensor, before: Tensor) -> Tensor:
        """Give the block's output for frames `x` [T, C, H, W], of which `before` [1, C, H, W] is the predecessor."""
        past = torch.cat((before, x[:-1]))
        y = self.convs[0](torch.cat((x, past), 1)).relu_()
        return self.convs[2](self.convs[1](y).relu_()).add_(x).relu_()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """A doubling of the size, a growth in time (1x1 convolution) and a 3x3 convolution, in three steps."""

    grow: Tensor  # [growth·C, C, 1, 1]
    kernel: Tensor  # [O, C, 3, 3]
    growth: int

    def __call__(self, x: Tensor) -> Tensor:
        """Give [T·growth, O, 2·H, 2·W] for [T, C, H, W]."""
        # One pixel at a time, so the growth may come before the doubling: the same numbers, a quarter of the work.
        grown = rearrange(F.conv2d(x, self.grow), "t (r c) h w -> (t r) c h w", r=self.growth)
        return upsample_conv_plain(grown, self.kernel)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedRise:
    """The three steps of `Rise` in one."""

    kernel: Tensor  # [2, 2, growth·O, C, 2, 2]
    growth: int

    def __call__(self, x: Tensor) -> Tensor:
        """Give [T·growth, O, 2·H, 2·W] for [T, C, H, W]."""
        return upsample_conv(x, self.kernel, growth=self.growth)


def merge(rise: Rise) -> MergedRise:
    """Give `rise` with 4 taps in place of 10; in float32 at least, rounded by whoever needs it."""
    grow = rearrange(rise.grow, "(r m) c 1 1 -> r m c", r=rise.growth)
    kernel = torch.einsum("omtu,rmc->roctu", rise.kernel, grow).flatten(0, 1)
    return MergedRise(kernel=merge_taps(kernel), growth=rise.growth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The last doubling and two convolutions, frame by frame: the widest tensors by far live only here."""

    rise: Rise | MergedRise
    convs: tuple[Conv, Conv]

    def __call__(self, x: Tensor) -> Tensor:
        """Give the frames [2·T, 3, 2·H, 2·W] for [T, C, H, W]."""
        return self.convs[1](self.convs[0](self.rise(x).relu_()).relu_())


@dataclass(frozen=True, slots=True, kw_only=True)
class TCDecoder:
    """The weights, ready to run."""

    entry: tuple[Conv, Conv]
    stages: tuple[tuple[Memory, ...], ...]  # at 1x, 2x and 4x the latents' size
    rises: tuple[Rise | MergedRise, ...]  # one between each stage and the next
    exit: Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class TCState:
    """What the next latents see of those before: the last input of each of the nine memory blocks."""

    last: tuple[Tensor, ...]  # each [1, C, H, W], the full frame


def prepare(
    weights: Mapping[str, Tensor], *, dtype: torch.dtype, device: torch.device | str, fold: bool = True
) -> TCDecoder:
    """Give the decoder of `weights` under their official names (`decoder.{index}...`).

    fold: merge each doubling into the convolution behind it: four 2x2 kernels, 4 taps for 9. False is the
          definition that it is tested against.
    """

    def ready(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype).contiguous(memory_format=torch.channels_last)

    def exact(tensor: Tensor) -> Tensor:
        return tensor if tensor.dtype is torch.float64 else tensor.float()

    def conv(name: str) -> Conv:
        bias = weights.get(f"decoder.{name}.bias")
        weight = ready(weights[f"decoder.{name}.weight"])
        return Conv(weight=weight, bias=None if bias is None else bias.to(device, dtype))

    def memory(index: int) -> Memory:
        return Memory(convs=(conv(f"{index}.conv.0"), conv(f"{index}.conv.2"), conv(f"{index}.conv.4")))

    def rise(index: int) -> Rise | MergedRise:
        grow, kernel = (exact(weights[f"decoder.{name}.weight"]) for name in (f"{index}.conv", f"{index + 1}"))
        plain = Rise(grow=grow, kernel=kernel, growth=len(grow) // grow.shape[1])
        if not fold:
            return Rise(grow=ready(grow), kernel=ready(kernel), growth=plain.growth)
        return MergedRise(kernel=merge(plain).kernel.to(device, dtype), growth=plain.growth)

    return TCDecoder(
        entry=(conv("1"), conv("3")),
        stages=tuple((memory(i), memory(i + 1), memory(i + 2)) for i in (5, 11, 17)),
        rises=(rise(9), rise(15)),
        exit=Exit(rise=rise(21), convs=(conv("24"), conv("26"))),
    )


def decode(
    model: TCDecoder,
    latents: Tensor,
    condition: Tensor,
    state: TCState | None,
    *,
    strips: int = 1,
    at_once: int | None = None,
) -> tuple[Tensor, TCState]:
    """Give the frames of the next latents, and the state after them.

    latents:    [T, 16, h, w]
    condition:  [F, 3, 8·h, 8·w] in [-1, 1], the low-quality frames of the frames asked for: F = 4·T, or
                4·T - 3 where `state` is None, at the start of a stream
    strips:     horizontal strips in which the largest layers run, at_once: latents in one go (None: all); both
                save memory and change no result beyond the rounding of sums. Calls may differ in them.
    returns:    [F, 3, 8·h, 8·w], nominally in [0, 1], not clamped
    """
    missing = TRIM if state is None else 0
    if len(condition) != GROWTH * len(latents) - missing:
        raise ValueError(f"decoder: {len(condition)} frames for {len(latents)} latents, {missing} missing at the start")
    condition = torch.cat((condition[:1].expand(missing, -1, -1, -1), condition))
    frames = model.entry[0].weight.new_empty(condition.shape)
    step = at_once or len(latents)
    for first in range(0, len(latents), step):
        rows = slice(GROWTH * first, GROWTH * (first + step))
        x = _inputs(model, latents[first : first + step], condition[rows])
        frames[rows], state = _run(model, x, state, strips)
    assert state is not None
    return frames[missing:], state


def _inputs(model: TCDecoder, latents: Tensor, condition: Tensor) -> Tensor:
    """Give the decoder's input [T, 768 + 16, h, w]: four frames, space-to-depth, in front of their latent."""
    layout = "(t f) c (h y) (w x) -> t (c f y x) h w"
    known = rearrange(condition, layout, f=GROWTH, y=SCALE, x=SCALE)
    weight = model.entry[0].weight
    x = torch.cat((known.to(weight), latents.to(weight)), 1).contiguous(memory_format=torch.channels_last)
    return x.div_(3).tanh_().mul_(3)


def _run(model: TCDecoder, x: Tensor, state: TCState | None, strips: int) -> tuple[Tensor, TCState]:
    """Give the frames [4·T, 3, H, W] of inputs [T, 784, h, w], and the state after them."""
    x = model.entry[1](model.entry[0](x).relu_()).relu_()
    last: list[Tensor] = []
    for number, stage in enumerate(model.stages):
        x = model.rises[number - 1](x) if number else x
        for block in stage:
            before = state.last[len(last)] if state else torch.zeros_like(x[:1])
            last.append(x[-1:].clone())  # a view would keep all frames alive
            x = _by_strips(block, (x, before), strips if number >= STRIPPED else 1, MEMORY_HALO)
    return _by_strips(model.exit, (x,), strips, EXIT_HALO, scale=2), TCState(last=tuple(last))


def _by_strips(
    net: Callable[..., Tensor], inputs: tuple[Tensor, ...], strips: int, halo: int, scale: int = 1
) -> Tensor:
    """Give net(*inputs), computed in `strips` strips of rows.

    net:   makes `scale` rows of each
    halo:  rows of the inputs that a row of the output sees above and below. A strip takes so many rows of
           its neighbours and drops what it makes of them; at the picture's own border it takes none, and
           the net's zero padding falls where it falls for the whole picture.
    """
    if strips == 1:
        return net(*inputs)
    height = inputs[0].shape[-2]
    out: Tensor | None = None
    for top, bottom in itertools.pairwise(sorted({height * index // strips for index in range(strips + 1)})):
        first, end = max(0, top - halo), min(height, bottom + halo)
        part = net(*(tensor[:, :, first:end] for tensor in inputs))
        if out is None:
            count, channels, _, width = part.shape
            out = part.new_empty(count, scale * height, width, channels).permute(0, 3, 1, 2)  # channels last
        out[:, :, scale * top : scale * bottom] = part[:, :, scale * (top - first) : scale * (bottom - first)]
    assert out is not None
    return out
