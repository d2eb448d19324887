"""The embedded networks in plain torch: weights in, frames through, nothing remembered.

All are called alike, as spandrel's are: [T, 3, H, W] RGB in [0, 1] → [T, 3, s·H, s·W] RGB in [0, 1].
Shapes of one strip inside: x [1, 3, h, w] fp32.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.kernels.device import DTYPES, Precision
from darkroom.kernels.resize import doubled
from darkroom.kernels.strips import in_strips, strip_rows
from darkroom.pipelines.upscale.models import MODELS, Model
from darkroom.pipelines.upscale.weights.embedded import read_weights

STRIP_BYTES: Mapping[str, int] = {"cpu": 96 << 20, "cuda": 2 << 30}

Tensors = Mapping[str, Tensor]
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """A loaded network: call it with frames.

    frames:   [T, 3, H, W] fp32 RGB in [0, 1], on `device`
    returns:  [T, 3, scale·H, scale·W] likewise; what a frame becomes does not depend on the others
    """

    model: Model
    scale: int
    device: str
    valid: bool  # `forward` wants the halo around the picture and consumes it (see `in_strips`)
    bytes_per_pixel: int
    forward: Forward  # one strip: [1, 3, h, w] → [1, 3, scale·h, scale·w]

    def __call__(self, frames: Tensor) -> Tensor:
        """Enlarge `frames`."""
        budget = STRIP_BYTES[torch.device(self.device).type]
        rows = strip_rows(frames.shape[-1], self.bytes_per_pixel, self.model.halo, budget)
        with torch.inference_mode():
            return in_strips(self.forward, frames, scale=self.scale, halo=self.model.halo, rows=rows, valid=self.valid)


def load(name: str, *, scale: int, device: str, precision: Precision) -> Net:
    """Give the net of model `name` that enlarges by `scale`, ready on `device`.

    name, scale:  one of MODELS and one of its `scales`
    precision:    of the heavy layers; what carries the brightness of a pixel stays fp32
    Raises Unavailable if the weight file is damaged or the device does not answer.
    """
    model = MODELS[name]
    dtype = DTYPES[precision]
    weights = {key: value.to(device) for key, value in read_weights(model).items()}
    forward: Forward
    if name == "photo":
        forward = partial(photo, prepare(with_up(weights), dtype, exact=("conv.0", "up")), dtype)
    elif name == "fast":
        forward = partial(fast, prepare(weights, dtype), dtype)
    else:
        forward = partial(anime, prepare(weights, dtype), dtype, scale)
    return Net(
        model=model,
        scale=scale,
        device=device,
        valid=name == "photo",
        bytes_per_pixel=model.channels * dtype.itemsize,
        forward=forward,
    )


def prepare(weights: Tensors, dtype: torch.dtype, exact: Sequence[str] = ()) -> Tensors:
    """Give `weights` in `dtype` and in the layout convolutions like best; layers named in `exact` in fp32."""

    def cast(layer: str, value: Tensor) -> Tensor:
        value = value.to(torch.float32 if layer in exact else dtype)
        return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value

    return {key: cast(key.rpartition(".")[0], value) for key, value in weights.items()}


def photo(w: Tensors, dtype: torch.dtype, x: Tensor) -> Tensor:
    """waifu2x upconv_7: six 3x3 convolutions without padding, then twice the size.

    x: [1, 3, h + 14, w + 14] → [1, 3, 2·h, 2·w]

    The whole signal runs through the layers (there is no skip), so the first and the last are fp32:
    at the same speed, 58.7 dB against fp32 where all-bf16 reaches 56.4.
    """
    x = F.leaky_relu_(conv(w, 0, channels_last(x)), 0.1).to(dtype)
    for index in range(1, 6):
        x = F.leaky_relu_(conv(w, index, x), 0.1)
    x = F.conv2d(x.float(), w["up.weight"], w["up.bias"])
    return F.pixel_shuffle(x, 2).clamp_(0, 1)


def with_up(weights: Tensors) -> Tensors:
    """Give `weights` with the deconvolution (4x4, stride 2, padding 3) as a 3x3 convolution before a pixel shuffle.

    `up.weight` is [12 = 3 colours x 2 x 2, in, 3, 3]. Output pixel 2·i + p takes input i + d by tap p + 3 - 2·d:
    the same sums, in the kernels that are fast (23 ms instead of 34 in bf16 at 320x180).
    """
    deconv = weights["deconv.weight"].float()
    up = deconv.new_zeros((3, 2, 2, deconv.shape[0], 3, 3))
    for p, q, row, column in product(range(2), range(2), range(3), range(3)):
        y, x = p + 3 - 2 * row, q + 3 - 2 * column
        if 0 <= y < 4 and 0 <= x < 4:
            up[:, p, q, :, row, column] = deconv[:, :, y, x].T
    return {**weights, "up.weight": up.flatten(0, 2), "up.bias": weights["deconv.bias"].repeat_interleave(4)}


def fast(w: Tensors, dtype: torch.dtype, x: Tensor) -> Tensor:
    """Anime4K x2 VL: seven 3x3 layers of 8 channels, all of them read by the last; adds to a bilinear base.

    Each layer hands on both signs of its output (CReLU). Borders repeat the outermost number of each layer,
    as a texture clamped at its edge does in the shader.
    """
    y, layers = channels_last(x).to(dtype), []
    for index in range(7):
        y = conv(w, index, F.pad(y, (1, 1, 1, 1), mode="replicate"))
        y = torch.cat((F.relu(y), F.relu(-y)), 1)
        layers.append(y)
    detail = F.pixel_shuffle(conv(w, 7, torch.cat(layers, 1)), 2)
    base = doubled(doubled(x, -2, cosited=False), -1, cosited=False)
    return base.add_(detail).clamp_(0, 1)


def anime(w: Tensors, dtype: torch.dtype, scale: int, x: Tensor) -> Tensor:
    """SRVGGNetCompact: eighteen 3x3 convolutions, four times the size, added to the enlarged pixels.

    scale: 4, or 2: upstream's x2 is the x4 net halved by bicubic (a = -0.75, not antialiased).
    """
    y = channels_last(x).to(dtype)
    for index in range(17):
        y = F.prelu(conv(w, index, y, padding=1), w[f"slope.{index}"])
    detail = F.pixel_shuffle(conv(w, 17, y, padding=1), 4)
    enlarged = F.interpolate(x, scale_factor=4, mode="nearest").add_(detail)
    if scale == 2:
        enlarged = F.interpolate(enlarged, scale_factor=0.5, mode="bicubic", align_corners=False)
    return enlarged.clamp_(0, 1)


def conv(w: Tensors, index: int, x: Tensor, padding: int = 0) -> Tensor:
    """Apply convolution `index` of `w`."""
    return F.conv2d(x, w[f"conv.{index}.weight"], w[f"conv.{index}.bias"], padding=padding)


def channels_last(x: Tensor) -> Tensor:
    """Give `x` with its channels side by side in memory: bf16 convolutions run 15 % faster so."""
    return x.contiguous(memory_format=torch.channels_last)
