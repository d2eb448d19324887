"""From low-quality frames to the tokens that are added to those of the DiT: two convolutions in space and time"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from darkroom.kernels.channel_norm import norm_silu

PATCH = 16  # pixels: a token of the DiT is 8 (VAE) x 2 (patch) of them wide
CLIP = 4  # frames that make the tokens of one latent frame: both convolutions halve the time
TAPS = 4  # of both kernels in time, two of which reach back; their step is 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution over frames stacked in channels, and the norm behind it."""

    weight: Tensor  # [O, taps·C, 3, 3], channels last; 4 taps, or 2 where those that see the same frame are merged
    bias: Tensor  # [O]
    gamma: Tensor  # [O]


@dataclass(frozen=True, slots=True, kw_only=True)
class LQProjection:
    """The weights, ready to run."""

    causal: bool
    first: Layer
    second: Layer
    linear: Tensor  # [D, O]
    bias: Tensor  # [D]


@dataclass(frozen=True, slots=True, kw_only=True)
class LQState:
    """What the next clips see of those before: two frames of each convolution's input; none where not causal."""

    frames: Tensor  # [2 | 0, 768, h, w], space-to-depth
    hidden: Tensor  # [2 | 0, C, h, w]


def prepare(
    weights: Mapping[str, Tensor], *, causal: bool, dtype: torch.dtype, device: torch.device | str
) -> LQProjection:
    """Give the projection of `weights` under their official names.

    causal:  True for v1.1, an ordinary causal convolution. False for v1, whose every clip sees itself in
             place of the clip before: the second convolution's frames are u0 u1 u0 u1, so its taps 0
             and 2, 1 and 3 are added up (in float32 at least) and half its work is saved.
    """

    def ready(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype)

    def layer(number: int, weight: Tensor) -> Layer:
        stacked = rearrange(weight, "o c t y x -> o (t c) y x")
        return Layer(
            weight=ready(stacked).contiguous(memory_format=torch.channels_last),
            bias=ready(weights[f"conv{number}.bias"]),
            gamma=ready(weights[f"norm{number}.gamma"]).flatten(),
        )

    second = weights["conv2.weight"]
    if not causal:
        second = second if second.dtype is torch.float64 else second.float()
        second = second[:, :, : TAPS // 2] + second[:, :, TAPS // 2 :]
    return LQProjection(
        causal=causal,
        first=layer(1, weights["conv1.weight"]),
        second=layer(2, second),
        linear=ready(weights["linear_layers.0.weight"]),
        bias=ready(weights["linear_layers.0.bias"]),
    )


def start(model: LQProjection, frame: Tensor) -> LQState:
    """Give the state after the stream's first frame, which by itself makes no tokens.

    frame: [1, 3, H, W] in [-1, 1]
    """
    x = _patches(model, frame)
    if not model.causal:
        return LQState(frames=x[:0], hidden=x.new_empty((0, len(model.first.bias), *x.shape[2:])))
    # The frame stands for itself and for all before it, so both hidden frames are the same one.
    hidden = _convolve(model.first, torch.cat([_bordered(x)] * TAPS, 1))
    return LQState(frames=torch.cat((x, x)), hidden=torch.cat((hidden, hidden)))


def project(model: LQProjection, frames: Tensor, state: LQState) -> tuple[Tensor, LQState]:
    """Give the tokens of the next frames, in raster order, and the state after them.

    frames:   [4·k, 3, H, W] in [-1, 1]; H and W multiples of 16
    returns:  [k, H/16, W/16, D]
    """
    if len(frames) % CLIP:
        raise ValueError(f"LQ projection: {len(frames)} frames; give a multiple of {CLIP}")
    x = _patches(model, frames)
    if model.causal:
        x = torch.cat((state.frames, x))
        hidden = torch.cat((state.hidden, _convolve(model.first, _stack(_bordered(x)))))
        state = LQState(frames=x[-2:].clone(), hidden=hidden[-2:].clone())  # views would keep the rest alive
        y = _convolve(model.second, _stack(_bordered(hidden)))
    else:
        # Each clip as x2 x3 x0 x1 x2 x3: the clip before it is the clip itself.
        x = _bordered(x)
        x0, x1, x2, x3 = (x[place::CLIP] for place in range(CLIP))
        u0 = _convolve(model.first, torch.cat((x2, x3, x0, x1), 1))
        u1 = _convolve(model.first, torch.cat((x0, x1, x2, x3), 1))
        y = _convolve(model.second, _bordered(torch.cat((u0, u1), 1)))
    return F.linear(y.permute(0, 2, 3, 1), model.linear, model.bias), state


def _patches(model: LQProjection, frames: Tensor) -> Tensor:
    """Give frames [T, 3, H, W] as [T, 768, H/16, W/16], channels last."""
    x = frames.to(model.linear.device, model.linear.dtype)
    x = rearrange(x, "t c (h y) (w x) -> t (c y x) h w", y=PATCH, x=PATCH)
    return x.contiguous(memory_format=torch.channels_last)


def _bordered(frames: Tensor) -> Tensor:
    """Give `frames` continued by their outermost pixels, one on each side: once, before each is stacked twice."""
    return F.pad(frames, (1, 1, 1, 1), mode="replicate")


def _stack(frames: Tensor) -> Tensor:
    """Give each four frames, two steps apart, stacked in channels: [T, C, h, w] to [T/2 - 1, 4·C, h, w]."""
    return torch.cat([frames[tap : len(frames) - TAPS + 1 + tap : 2] for tap in range(TAPS)], 1)


def _convolve(layer: Layer, stacked: Tensor) -> Tensor:
    """Give SiLU(norm(convolution)) of stacked frames with their border.

    A kernel of (taps, 3, 3) over frames is a kernel of (3, 3) over frames stacked in channels: the same sum.
    """
    return norm_silu(F.conv2d(stacked, layer.weight, layer.bias), layer.gamma)
