"""Attention from every query to every key: the cross attention, and the community's dense mode"""

from collections.abc import Callable
from importlib import import_module

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Dense = Callable[[Tensor, Tensor, Tensor], Tensor]  # q [L, heads, d], k and v [M, heads, d] → [L, heads, d]

SAGE_WIDTHS = (64, 96, 128)  # of a head: sageattention 1.0.6, core.py
SAGE_KEYS = 64  # its tile: it counts keys that are missing in the last tile as if their score were 0


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Give softmax(q·kᵀ/√d)·v by torch's fastest exact way for the device.

    q:        [L, heads, d]
    k, v:     [M, heads, d]
    returns:  [L, heads, d]
    """
    q, k, v = (rearrange(x, "l a d -> 1 a l d") for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "1 a l d -> l a d")


def sage_attention(attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Give what `dense_attention` gives within 2 %, by `attend`, sageattention's `sageattn`.

    Raises ValueError where it would compute something else: see SAGE_WIDTHS and SAGE_KEYS.
    """
    if q.shape[2] not in SAGE_WIDTHS or len(k) % SAGE_KEYS:
        raise ValueError(
            f"sageattention: heads of {q.shape[2]} channels and {len(k)} keys; it needs heads of {SAGE_WIDTHS} and"
            f" a multiple of {SAGE_KEYS} keys: set attention: dense"
        )
    # Its own smoothing would take the mean from the caller's keys in place, that is from the K/V ring.
    k = k - k.mean(0, keepdim=True)
    out = attend(q[None], k[None], v[None], tensor_layout="NHD", is_causal=False, smooth_k=False)
    return out[0]


def flash_attention(attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Give what `dense_attention` gives, by `attend`, flash-attn's `flash_attn_func`: 16 bits only."""
    return attend(q[None], k[None], v[None])[0]


def library(module: str, function: str) -> Callable[..., Tensor]:
    """Give `function` of an optional `module`. Raises ValueError with the way to get it."""
    try:
        found: Callable[..., Tensor] = getattr(import_module(module), function)
    except (ImportError, AttributeError, OSError) as error:  # OSError: built for another CUDA
        name = module.replace("_", "-")
        raise ValueError(f"{name} cannot be used here ({error}); pip install {name}, or set attention: auto") from error
    return found


def windowed_by(attend: Dense) -> Callable[..., Tensor]:
    """Give the community's dense mode: as `sparse_attention.windowed`, but every query sees all live keys.

    Nothing is selected, so this is not what the model was trained for: pictures differ a little,
    and the work grows with the square of the frame. Means, grid, range and topk have no effect.
    """

    def windowed(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_means: Tensor,
        k_means: Tensor,
        *,
        slots: tuple[int, ...],
        heads: int,
        grid: tuple[int, int],
        local_range: int,
        topk: int,
    ) -> Tensor:
        queries = rearrange(q, "l (a d) -> l a d", a=heads)
        keys, values = (rearrange(_live(x, slots), "s t (a d) -> (s t) a d", a=heads) for x in (k, v))
        return rearrange(attend(queries, keys, values), "l a d -> l (a d)")

    return windowed


def _live(ring: Tensor, slots: tuple[int, ...]) -> Tensor:
    """Give the slices in `slots`, in any order, which softmax does not mind: a whole ring is not copied."""
    return ring if len(slots) == len(ring) else torch.cat([ring[slot : slot + 1] for slot in sorted(slots)])
