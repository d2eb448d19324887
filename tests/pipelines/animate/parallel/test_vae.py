import pytest
import torch
from tiny_wan import tiny_components
from torch import Tensor
from wan_team import on_team

from darkroom.pipelines.animate.parallel.team import Team
from darkroom.pipelines.animate.parallel.vae import places, share_tiles


@pytest.mark.parametrize("size", [(20, 13), (9, 30), (8, 16)])  # latents: tiles that end anywhere
@torch.no_grad()
def test_tiles_of_two_devices_are_laid_as_the_library_lays_its_own(size: tuple[int, int]) -> None:
    vae = tiny_components().vae
    vae.enable_tiling(64, 64, 48, 48)
    latents = 3 * torch.randn(1, 16, 2, *size, generator=torch.Generator().manual_seed(0))
    alone = vae.decode(latents).sample
    assert (alone.abs() == 1).any(), "nothing saturates: that values fade before they are cut is not tested"
    decoded: list[int] = []
    vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(1))

    def share(team: Team) -> tuple[Tensor, int]:
        share_tiles(vae, team)
        return vae.decode(latents).sample, len(decoded)

    (video, count), (_, other) = on_team(share, cfg=2)
    assert torch.equal(video, alone)
    assert count + other == 2 * sum(len(row) for row in places(vae, *size)), "a tile was decoded twice"
    assert count - other in (0, 2)


def test_a_picture_of_one_tile_is_decoded_as_it_is() -> None:
    vae = tiny_components().vae
    vae.enable_tiling(64, 64, 48, 48)
    latents = torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = vae.decode(latents).sample

    @torch.no_grad()
    def share(team: Team) -> Tensor:
        share_tiles(vae, team)
        return vae.decode(latents).sample  # type: ignore[no-any-return]

    assert torch.equal(on_team(share, cfg=2)[0], alone)
