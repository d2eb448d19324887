from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.video.create import made_facts, write_film
from darkroom.pipelines.video.encode import EncoderSettings, available_encoders, choose_encoder
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.options import VideoOptions

FRAMES = 9
TAGS = {"title": "a cat", "comment": '{"seed": 7}'}


@pytest.fixture
def facts() -> VideoFacts:
    return made_facts(Path("cat.jpg"), 64, 48, FRAMES, 16)


@pytest.fixture
def settings(facts: VideoFacts) -> EncoderSettings:
    return choose_encoder(VideoOptions(crf=5), facts, available_encoders(), facts.width, facts.height)[0]


def pictures(count: int = FRAMES) -> Iterator[NDArray[np.uint8]]:
    """Red growing darker from left to right, a white bar walking over it."""
    for number in range(count):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[..., 0] = np.linspace(255, 100, 64)
        picture[:, 6 * number : 6 * number + 6] = 255
        yield picture


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_every_picture_is_a_frame_at_its_time(
    suffix: str, facts: VideoFacts, settings: EncoderSettings, tmp_path: Path
) -> None:
    out = tmp_path / f"a{suffix}"
    write_film(pictures(), facts, settings, TAGS, out)
    with av.open(str(out)) as container:
        assert {"title": "a cat", "comment": '{"seed": 7}'}.items() <= {
            name.lower(): value for name, value in container.metadata.items()
        }.items()
        frames = list(container.decode(video=0))
    assert [float(frame.time) for frame in frames if frame.time is not None] == pytest.approx(
        [number / 16 for number in range(FRAMES)], abs=0.001
    )
    for frame, picture in zip(frames, pictures(), strict=True):
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - picture).mean() < 6


def test_equal_pictures_are_equal_bytes(facts: VideoFacts, settings: EncoderSettings, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_film(pictures(), facts, settings, TAGS, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_film_with_too_few_frames_is_no_result(facts: VideoFacts, settings: EncoderSettings, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="8 frames, 9 were to be written"):
        write_film(pictures(8), facts, settings, {}, tmp_path / "a.mp4")


def test_where_it_cannot_be_written_is_the_machines_fault(
    facts: VideoFacts, settings: EncoderSettings, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match=r"a\.mp4: No such file or directory"):
        write_film(pictures(), facts, settings, {}, tmp_path / "none" / "a.mp4")
