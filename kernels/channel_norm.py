"""Root-mean-square norm over the channels of pictures, as the convolutional modules of Wan use it"""

import torch.nn.functional as F
from torch import Tensor


def channel_norm(x: Tensor, gamma: Tensor) -> Tensor:
    """Give `x` with every pixel's channels scaled to the norm √C, times `gamma`.

    x:        [N, C, H, W]
    gamma:    C values, any shape
    returns:  as `x`; a pixel of zeros stays zero

    y = x / max(‖x‖₂, 1e-12) · √C · gamma, each product rounded to the dtype of `x`, as the models were
    trained; ‖x‖₂ is summed in float32 at least.
    """
    return F.normalize(x, dim=1, eps=1e-12).mul_(x.shape[1] ** 0.5).mul_(gamma.view(1, -1, 1, 1))


def norm_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """Give SiLU(channel_norm(x, gamma)), in one new tensor."""
    return F.silu(channel_norm(x, gamma), inplace=True)
