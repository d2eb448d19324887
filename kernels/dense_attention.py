"""Attention from every query to every key: the cross attention, and the community's dense mode"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Give softmax(q·kᵀ/√d)·v by torch's fastest exact way for the device.

    q:        [L, heads, d]
    k, v:     [M, heads, d]
    returns:  [L, heads, d]
    """
    q, k, v = (rearrange(x, "l a d -> 1 a l d") for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "1 a l d -> l a d")
