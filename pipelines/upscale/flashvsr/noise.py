"""The noise that latents start from: that of a latent depends on the seed and its place in the film alone"""

import hashlib

import torch
from torch import Tensor

WORD = 2**32  # torch's CPU generator takes no more of a seed than its lower 32 bits


def latent_noise(seed: int, index: int, channels: int, height: int, width: int) -> Tensor:
    """Give the standard normal noise of one latent frame, the same whichever segment asks.

    index:    of the latent in the whole film, from 0
    height:   of the whole canvas in latent pixels (8 of the picture), as `width`: a tile takes its own box of
              this noise, so that two tiles start equal where they overlap
    returns:  fp32 [channels, height, width] on the CPU, the same whatever the device or working dtype
    """
    generator = torch.Generator().manual_seed(_mixed(seed, index))
    return torch.randn(channels, height, width, generator=generator)


def clip_noise(
    seed: int, count: int, channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Give the noise of a whole film as the official scripts draw it: at once, in place, in the working dtype.

    returns:  [count, channels, height, width], `count` being (F - 1) / 4 latents of F frames eaten

    It differs between devices and dtypes, and no segment can draw its share alone: for comparison with
    the official pipeline only.
    """
    generator = torch.Generator(device).manual_seed(seed)
    # Drawn channels first, as the official layout [1, 16, T, h, w] has it.
    drawn = torch.randn(1, channels, count, height, width, generator=generator, dtype=dtype, device=device)
    return drawn[0].transpose(0, 1).contiguous()


def _mixed(seed: int, index: int) -> int:
    """A generator seed: for each `seed` a bijection of 32-bit indices, so that no two latents of a film share noise.

    The finalizer of MurmurHash3 takes neighbours apart; the hash of the seed, added first, sets off the
    films of neighbouring seeds from each other.
    """
    offset = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4])
    word = (index + offset) % WORD
    word = (word ^ word >> 16) * 0x85EBCA6B % WORD
    word = (word ^ word >> 13) * 0xC2B2AE35 % WORD
    return word ^ word >> 16
