from pathlib import Path

import pytest
from clips.shapes import FRAMES, film

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.source import opened
from darkroom.pipelines.video.tracks import Track, read_tracks

CENC = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "07" * 16, "encryption_kid": "08" * 16}


def read(path: Path) -> dict[int, Track]:
    with opened(path) as container:
        return read_tracks(path, container, container.streams.video[0])


def test_each_stream_has_its_packets_and_its_span(tmp_path: Path) -> None:
    tracks = read(film(tmp_path / "a.mp4"))
    assert tracks[0].packets == len(tracks[0].pts) == FRAMES
    assert tracks[0].first_s == 0 and tracks[0].keys[0]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".mov", "front.mp4"])
def test_a_file_cut_in_the_middle_is_rejected(suffix: str, share: float, tmp_path: Path) -> None:
    muxing = {"movflags": "+faststart"} if suffix == "front.mp4" else {}
    path = film(tmp_path / f"film{suffix}", frames=80, muxing=muxing)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Rejected, match="copy"):
        read(path)


def test_more_frames_than_can_be_remembered_are_refused_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.pipelines.video.tracks.MOST_FRAMES", FRAMES - 1)
    with pytest.raises(Rejected, match="more than 29 frames; split the file"):
        read(film(tmp_path / "a.mp4"))


@pytest.mark.parametrize("attempt", range(5))
def test_an_encrypted_film_is_refused_whatever_its_noise_looks_like(attempt: int, tmp_path: Path) -> None:
    """The key is the same, but not what the noise begins with: a decoder makes pictures of some of it."""
    with pytest.raises(Rejected, match=r"^a\.mp4: encrypted; "):
        read(film(tmp_path / "a.mp4", muxing=CENC))
