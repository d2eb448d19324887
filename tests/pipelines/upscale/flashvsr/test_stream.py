"""Streams of segments, with small weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from goldens import distance
from small_flashvsr import model
from torch import Tensor

from darkroom.pipelines.base import Segment
from darkroom.pipelines.upscale.flashvsr.frames import Window, chunk, official, window
from darkroom.pipelines.upscale.flashvsr.model import Chunk, FlashVSR, begin, step
from darkroom.pipelines.upscale.flashvsr.noise import latent_noise
from darkroom.pipelines.upscale.flashvsr.prepare import low_quality
from darkroom.pipelines.upscale.flashvsr.stream import Job, frames, frames_by_tiles
from darkroom.pipelines.upscale.flashvsr.tiles import tiles

SEED = 7


class Film:
    """Pictures of a window, held in memory."""

    def __init__(self, pictures: Tensor, of: Window) -> None:
        self.pictures = pictures[of.read_start : of.read_stop]

    def __getitem__(self, places: range) -> Tensor:
        return self.pictures[[min(place, len(self.pictures) - 1) for place in places]]


def moving(count: int, height: int, width: int) -> Tensor:
    """A picture of smooth random shapes that moves three pixels a frame."""
    ground = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(3))
    ground = torch.nn.functional.interpolate(ground, size=(height, width + 3 * count), mode="bicubic").clamp(0, 1)
    return torch.cat([(255 * ground[..., 3 * at : 3 * at + width]).to(torch.uint8) for at in range(count)])


def enlarged(
    film: Tensor, segment: Segment, *, cut: bool = False, scale: int = 4, by: FlashVSR | None = None
) -> Tensor:
    of = window(segment, len(film), cut=cut)
    height, width = (scale * side for side in film.shape[-2:])
    job = Job(model=by or model(), window=of, height=height, width=width, seed=SEED)
    return taken(frames(job, Film(film, of)))


def taken(given: Iterator[Tensor | None]) -> Tensor:
    return torch.stack([frame.clone() for frame in given if frame is not None])


def test_a_job_of_one_segment_is_the_official_stream() -> None:
    film = moving(37, 32, 64)
    found = enlarged(film, Segment(0, 0, 37))
    whole = low_quality(torch.cat((film, film[-1:].expand(4, -1, -1, -1))), 128, 256, torch.float32)
    state, wanted = begin(model(), 128, 256), []
    for index in range(official(37)):
        one = chunk(index)
        noise = torch.stack([latent_noise(SEED, at, 16, 16, 32) for at in one.latents])
        shown, state = step(model(), Chunk(frames=whole[one.lq.start : one.lq.stop], noise=noise), state)
        wanted.append(shown)
    assert torch.equal(found, torch.cat(wanted))


@pytest.mark.parametrize("count", [1, 4, 21, 22, 30])
def test_every_frame_comes_out_once_whatever_the_length(count: int) -> None:
    assert enlarged(moving(count, 32, 32), Segment(0, 0, count)).shape == (count, 3, 128, 128)


def test_no_part_of_the_picture_is_cut_off_at_any_size() -> None:
    assert enlarged(moving(5, 18, 40), Segment(0, 0, 5)).shape == (5, 3, 72, 160)
    assert enlarged(moving(5, 21, 43), Segment(0, 0, 5), scale=3).shape == (5, 3, 63, 129)


def test_a_segment_is_the_same_whoever_asks_and_starts_afresh_at_a_cut() -> None:
    film = moving(70, 16, 16)
    segment = Segment(1, 45, 60)
    assert torch.equal(enlarged(film, segment), enlarged(film, segment))
    changed = film.clone()
    changed[:45] = 255 - changed[:45]
    assert torch.equal(enlarged(film, segment, cut=True), enlarged(changed, segment, cut=True))
    assert not torch.equal(enlarged(film, segment), enlarged(changed, segment))


def test_frames_far_enough_in_a_later_segment_are_near_those_of_one_stream() -> None:
    film = moving(93, 32, 32)
    whole = enlarged(film, Segment(0, 0, 93))
    later = enlarged(film, Segment(1, 61, 93))
    seam = [distance(found, wanted) for found, wanted in zip(later, whole[61:], strict=True)]
    assert seam[-1] < 0.02
    assert max(seam) < 0.1


def test_tiles_that_cover_each_other_give_the_picture_of_the_whole_frame(tmp_path: Path) -> None:
    film = moving(9, 32, 32)
    of = window(Segment(0, 0, 9), 9, cut=False)
    job = Job(model=model(), window=of, height=128, width=128, seed=SEED)
    whole = taken(frames(job, Film(film, of)))
    one_tile = taken(frames_by_tiles(job, Film(film, of), tiles(128, 128, scale=4, tile=64), tmp_path))
    assert distance(one_tile, whole) < 2e-3  # halves, and clamped before the colours are matched
    assert list(tmp_path.iterdir()) == []


def test_tiles_show_no_seam_in_a_flat_picture(tmp_path: Path) -> None:
    film = torch.full((6, 3, 48, 80), 90, dtype=torch.uint8)
    of = window(Segment(0, 0, 6), 6, cut=False)
    job = Job(model=replace(model(), color_fix="off"), window=of, height=192, width=320, seed=SEED)
    cut = tiles(192, 320, scale=4, tile=40, overlap=16)
    assert len(cut) > 1
    found = list(frames_by_tiles(job, Film(film, of), cut, tmp_path))
    assert len([frame for frame in found if frame is None]) == len(cut) * of.chunks
    shown = torch.stack([frame for frame in found if frame is not None])
    steps = (shown[..., 1:] - shown[..., :-1]).abs().mean((0, 1, 2))
    inner = [tile.across.start for tile in cut if tile.across.start]
    assert all(steps[edge - 1] < 2 * steps.median() + 1e-3 for edge in inner)


def test_a_disk_that_is_too_full_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    of = window(Segment(0, 0, 1), 1, cut=False)
    job = Job(model=model(), window=of, height=128, width=128, seed=SEED)
    with pytest.raises(OSError, match=r"No space left .* takes 0\.0 GB: '.*'") as told:
        next(frames_by_tiles(job, Film(moving(1, 32, 32), of), tiles(128, 128, scale=4, tile=64), tmp_path))
    assert told.value.errno == 28, "by which it is known to pass"
