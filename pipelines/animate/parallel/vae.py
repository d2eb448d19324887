"""Decoding by several devices: the tiles of the picture are dealt out, and rank 0 lays them together"""

from typing import Any

import torch
import torch.distributed as dist
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from darkroom.pipelines.animate.parallel.team import Team

Place = tuple[slice, slice]  # rows and columns of latents


def share_tiles(vae: Any, team: Team) -> None:
    """Have `vae` decode with the team whatever it decodes in tiles; all must decode the same.

    Rank 0 gets what one device makes, to the bit; the others get zeros that stand for nothing.
    """

    def tiled_decode(latents: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        video = _decoded(vae, latents, team)
        return DecoderOutput(sample=video) if return_dict else (video,)

    vae.tiled_decode = tiled_decode


def places(vae: Any, height: int, width: int) -> list[list[Place]]:
    """Give the tiles of `height` x `width` latents, row by row, as diffusers cuts them: those at the edges smaller."""
    scale = vae.spatial_compression_ratio
    tile_height, tile_width = vae.tile_sample_min_height // scale, vae.tile_sample_min_width // scale
    rows = range(0, height, vae.tile_sample_stride_height // scale)
    columns = range(0, width, vae.tile_sample_stride_width // scale)
    return [
        [(slice(y, min(y + tile_height, height)), slice(x, min(x + tile_width, width))) for x in columns] for y in rows
    ]


def _decoded(vae: Any, latents: Tensor, team: Team) -> Tensor:
    rows = places(vae, *latents.shape[-2:])
    cut = [place for row in rows for place in row]
    own = {index: _tile(vae, latents, cut[index]) for index in range(team.rank, len(cut), team.size)}
    if team.rank:
        for tile in own.values():
            dist.send(tile, 0)
        return latents.new_zeros(1, 3, 1, 1, 1)
    tiles = iter(
        own[index] if index in own else _received(own[0], place, vae.spatial_compression_ratio, index % team.size)
        for index, place in enumerate(cut)
    )
    return _laid(vae, [[next(tiles) for _ in row] for row in rows])


def _tile(vae: Any, latents: Tensor, place: Place) -> Tensor:
    vae.clear_cache()
    decoded = []
    for frame in range(latents.shape[2]):
        vae._conv_idx = [0]  # the decoder counts its convolutions with it, each frame anew
        one = vae.post_quant_conv(latents[:, :, frame : frame + 1, *place])
        decoded.append(vae.decoder(one, feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=frame == 0))
    vae.clear_cache()
    return torch.cat(decoded, dim=2)


def _received(like: Tensor, place: Place, scale: int, rank: int) -> Tensor:
    height, width = ((edge.stop - edge.start) * scale for edge in place)
    tile = like.new_empty(*like.shape[:3], height, width)
    dist.recv(tile, rank)
    return tile


def _laid(vae: Any, rows: list[list[Tensor]]) -> Tensor:
    """Give the picture of overlapping tiles: each fades into the one above and the one to its left."""
    height, width = vae.tile_sample_stride_height, vae.tile_sample_stride_width
    overlap_y, overlap_x = vae.tile_sample_min_height - height, vae.tile_sample_min_width - width
    laid = []
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            if y:
                vae.blend_v(rows[y - 1][x], tile, overlap_y)  # in place, and so below
            if x:
                vae.blend_h(row[x - 1], tile, overlap_x)
        laid.append(torch.cat([tile[..., :height, :width] for tile in row], dim=-1))
    # Not before: values beyond the range count where tiles fade into each other.
    return torch.cat(laid, dim=-2).clamp(-1.0, 1.0)
