"""From latents to frames by the Wan2.1 video decoder, one latent at a time with causal memories"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from darkroom.kernels.channel_norm import channel_norm, norm_silu
from darkroom.kernels.upsample_conv import merge_taps, upsample_conv, upsample_conv_plain

SCALE = 8  # pixels per latent pixel
GROWTH = 4  # frames per latent; the first latent of a stream makes one
REACH = 2  # frames back that a causal kernel sees
LARGEST = 2**31 - 1  # numbers of a volume: larger ones go to a slow kernel that writes every tap out
SCORES = 2**28  # attention scores held at once where the backend writes them out: 1 GiB in float32

# Mean and spread of each latent channel, constants of the Wan2.1 VAE.
MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
SPREAD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip

Memories = list[Tensor]  # each the last two frames [2, C, H, W] that a causal convolution has seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Causal:
    """A convolution of (3, k, k) that sees each frame and the two before it; zeros beyond the border."""

    weight: Tensor  # [O, C, 3, k, k], channels last
    bias: Tensor

    def __call__(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give the convolution of frames [T, C, H, W] that come after `before`, and what comes before the next.

        Frames with channels last are, seen as one volume, channels last too: no copy is made.
        """
        start = [torch.zeros_like(x[:1])] * REACH if before is None else [before]
        seen = torch.cat((*start, x))
        y = self._convolved(seen.transpose(0, 1)[None])
        # Small volumes in float32 come from a backend that puts channels first; for all others this does nothing.
        return y[0].transpose(0, 1).contiguous(memory_format=torch.channels_last), seen[-REACH:].clone()

    def _convolved(self, volume: Tensor) -> Tensor:
        """Give the convolution of a volume [1, C, T, H, W], in strips of rows where it is too large to be counted."""
        border, height = self.weight.shape[-1] // 2, volume.shape[-2]
        strips = min(height, 1 + volume.numel() * max(1, len(self.weight) // volume.shape[1]) // LARGEST)
        edges = [height * index // strips for index in range(strips + 1)]
        parts = []
        for top, bottom in pairwise(edges):
            first, end = max(0, top - border), min(height, bottom + border)
            part = F.conv3d(volume[..., first:end, :], self.weight, self.bias, padding=(0, border, border))
            parts.append(part[..., top - first : bottom - first, :])
        return torch.cat(parts, -2) if len(parts) > 1 else parts[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise:
    """A convolution of one pixel: a matrix product over channels that lie last."""

    weight: Tensor  # [O, C]
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Give [T, O, H, W] for [T, C, H, W]."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Twice norm, SiLU and causal convolution, beside the input itself."""

    norms: tuple[Tensor, Tensor]
    convs: tuple[Causal, Causal]
    shortcut: Pointwise | None  # where the width changes

    def __call__(self, x: Tensor, memories: Iterator[Tensor | None], kept: Memories) -> Tensor:
        """Give the block's output for `x`, taking from `memories` and adding to `kept` in order."""
        y = x
        for gamma, conv in zip(self.norms, self.convs, strict=True):
            y, last = conv(norm_silu(y, gamma), next(memories))
            kept.append(last)
        return y.add_(x if self.shortcut is None else self.shortcut(x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Every pixel of a frame looks at every other: one head over all channels."""

    norm: Tensor
    qkv: Pointwise
    out: Pointwise

    def __call__(self, x: Tensor, memories: Iterator[Tensor | None], kept: Memories) -> Tensor:
        """Give the block's output for `x`; nothing is remembered."""
        tokens = rearrange(self.qkv(channel_norm(x, self.norm)), "t (part c) h w -> part t 1 (h w) c", part=3)
        q, k, v = tokens
        rows = max(1, SCORES // (len(x) * k.shape[-2]))
        parts = [F.scaled_dot_product_attention(some, k, v) for some in torch.split(q, rows, dim=-2)]
        y = rearrange(torch.cat(parts, -2), "t 1 (h w) c -> t c h w", h=x.shape[-2])
        return self.out(y).add_(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsample:
    """A doubling of the size with a convolution, after one in time where the block has it."""

    time: Causal | None
    kernel: Tensor  # [O, C, 3, 3], or folded [2, 2, O, C, 2, 2]
    bias: Tensor

    def __call__(self, x: Tensor, memories: Iterator[Tensor | None], kept: Memories) -> Tensor:
        """Give the block's output for `x`, taking from `memories` and adding to `kept` in order."""
        if self.time is not None:
            x, last = self._double_time(self.time, x, next(memories))
            kept.append(last)
        run = upsample_conv if self.kernel.ndim == 6 else upsample_conv_plain
        return run(x, self.kernel, self.bias)

    @staticmethod
    def _double_time(conv: Causal, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give twice the frames. The stream's first frame stays one, and the convolution never gets to see it."""
        if before is None:
            return x, x[:0].clone()
        y, last = conv(x, before if len(before) else None)
        # One copy, channels last: of a single frame einops would give a view with gaps, copied at each later use.
        return rearrange(y, "t (f c) h w -> (t f) h w c", f=2).contiguous().permute(0, 3, 1, 2), last


Block = Residual | Attention | Upsample


@dataclass(frozen=True, slots=True, kw_only=True)
class WanDecoder:
    """The weights, ready to run."""

    mean: Tensor  # [16, 1, 1]
    scale: Tensor  # [16, 1, 1]: 1 / spread
    entry: Pointwise
    first: Causal
    blocks: tuple[Block, ...]
    norm: Tensor
    last: Causal


@dataclass(frozen=True, slots=True, kw_only=True)
class WanState:
    """What the next latents see of those before: the last two inputs of each causal convolution."""

    memories: tuple[Tensor, ...]


def prepare(
    weights: Mapping[str, Tensor], *, dtype: torch.dtype, device: torch.device | str, fold: bool = True
) -> WanDecoder:
    """Give the decoder of `weights` under their official names (`decoder.*` and `conv2.*`; others are ignored).

    fold: merge each doubling into the convolution behind it, 4 taps for 9; False is the definition.
    """

    def ready(name: str) -> Tensor:
        return weights[name].to(device, dtype)

    def pointwise(name: str) -> Pointwise:
        return Pointwise(weight=ready(f"{name}.weight").flatten(1), bias=ready(f"{name}.bias"))

    def causal(name: str) -> Causal:
        weight = ready(f"{name}.weight").contiguous(memory_format=torch.channels_last_3d)
        return Causal(weight=weight, bias=ready(f"{name}.bias"))

    def block(name: str) -> Block:
        if f"{name}.to_qkv.weight" in weights:
            return Attention(
                norm=ready(f"{name}.norm.gamma"), qkv=pointwise(f"{name}.to_qkv"), out=pointwise(f"{name}.proj")
            )
        if f"{name}.resample.1.weight" in weights:
            kernel = weights[f"{name}.resample.1.weight"]
            kernel = merge_taps(kernel if kernel.dtype is torch.float64 else kernel.float()) if fold else kernel
            time = causal(f"{name}.time_conv") if f"{name}.time_conv.weight" in weights else None
            return Upsample(time=time, kernel=kernel.to(device, dtype), bias=ready(f"{name}.resample.1.bias"))
        return Residual(
            norms=(ready(f"{name}.residual.0.gamma"), ready(f"{name}.residual.3.gamma")),
            convs=(causal(f"{name}.residual.2"), causal(f"{name}.residual.6")),
            shortcut=pointwise(f"{name}.shortcut") if f"{name}.shortcut.weight" in weights else None,
        )

    def constants(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1).to(device, dtype)

    upsamples = {int(name.split(".")[2]) for name in weights if name.startswith("decoder.upsamples.")}
    names = [f"middle.{index}" for index in range(3)] + [f"upsamples.{index}" for index in sorted(upsamples)]
    return WanDecoder(
        mean=constants(MEAN),
        scale=constants(tuple(1 / spread for spread in SPREAD)),
        entry=pointwise("conv2"),
        first=causal("decoder.conv1"),
        blocks=tuple(block(f"decoder.{name}") for name in names),
        norm=ready("decoder.head.0.gamma"),
        last=causal("decoder.head.2"),
    )


def decode(model: WanDecoder, latents: Tensor, state: WanState | None) -> tuple[Tensor, WanState]:
    """Give the frames of the next latents, and the state after them.

    latents:  [T, 16, h, w], at least one
    returns:  [F, 3, 8·h, 8·w], nominally in [-1, 1], not clamped; F = 4·T, or 4·T - 3 where `state` is
              None, at the start of a stream
    """
    if not len(latents):
        raise ValueError("decoder: no latents; give one or more")
    frames = []
    for latent in torch.split(latents, 1):
        found, state = _step(model, latent, state)
        frames.append(found)
    assert state is not None
    return torch.cat(frames), state


def _step(model: WanDecoder, latent: Tensor, state: WanState | None) -> tuple[Tensor, WanState]:
    """Give the frames of one latent [1, 16, h, w], and the state after it."""
    # The first convolution, two in each residual block, one in each doubling of time, the last: None at the start.
    memories: Iterator[Tensor | None] = iter(state.memories) if state else iter(lambda: None, 0)
    kept: Memories = []
    z = latent.to(model.mean) / model.scale + model.mean
    x, last = model.first(model.entry(z), next(memories))
    kept.append(last)
    for block in model.blocks:
        x = block(x, memories, kept)
    x, last = model.last(norm_silu(x, model.norm), next(memories))
    kept.append(last)
    return x, WanState(memories=tuple(kept))
