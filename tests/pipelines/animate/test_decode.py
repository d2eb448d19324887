import pytest
import torch
from tiny_wan import tiny_components

from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.decode import decode, pixels_of
from darkroom.pipelines.errors import Stopped


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def latents(height: int = 4, width: int = 6) -> torch.Tensor:
    return torch.randn(1, 16, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_three_latent_frames_become_nine_pictures(components: Components) -> None:
    frames = decode(components.vae, latents(), tiled=False, listen=lambda: None)
    assert (frames.shape, frames.dtype) == ((9, 32, 48, 3), torch.uint8)


def test_it_listens_at_each_latent_frame_and_what_is_raised_there_ends_it(components: Components) -> None:
    heard = 0

    def listen() -> None:
        nonlocal heard
        heard += 1
        if heard == 5:
            raise Stopped("cancel")

    decode(components.vae, latents(), tiled=False, listen=listen)
    assert heard == 3
    with pytest.raises(Stopped):
        decode(components.vae, latents(), tiled=False, listen=listen)
    assert not components.vae.decoder._forward_pre_hooks


def test_tiles_are_for_this_time_only(components: Components) -> None:
    decode(components.vae, latents(), tiled=True, listen=lambda: None)
    assert components.vae.use_tiling
    decode(components.vae, latents(), tiled=False, listen=lambda: None)
    assert not components.vae.use_tiling


def test_levels_are_rounded_and_kept_in_range() -> None:
    video = torch.tensor([-2.0, -1.0, 0.0, 1.0, 1.5, 0.6 / 127.5]).view(1, 1, 1, 1, 6).expand(1, 3, 1, 1, 6)
    assert pixels_of(video)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 128]
