from pathlib import Path

import av
import pytest
from clips.shapes import FRAMES, film

from darkroom.pipelines.video.damage import damage_of, note_damage


def test_what_is_noted_is_found_and_the_film_is_what_it_was(tmp_path: Path) -> None:
    part = film(tmp_path / "a.mp4")
    note_damage(part, [3, 4, 100_000])
    assert damage_of(part) == [3, 4, 100_000]
    with av.open(str(part)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


def test_a_whole_part_stays_as_it_is(tmp_path: Path) -> None:
    part = film(tmp_path / "a.mp4")
    before = part.read_bytes()
    note_damage(part, [])
    assert part.read_bytes() == before
    assert damage_of(part) == []


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xff\xff\xff", bytes(64), b"\0\0\0\x08free\0\0\0\x08"])
def test_what_was_never_noted_is_not_found(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert damage_of(tmp_path / "a.mp4") == []
