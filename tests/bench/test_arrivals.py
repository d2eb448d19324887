import random
from pathlib import Path

import pytest
from tables import bench

arrivals = bench("arrivals")
CLIPS = {"one": b"1" * 1000, "two": b"2" * 1500}


@pytest.fixture
def dropper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(arrivals.time, "sleep", lambda _: None)
    (tmp_path / "films" / "inbox").mkdir(parents=True)
    return arrivals.Dropper(tmp_path, CLIPS, random.Random(1))


def test_by_whatever_pattern_a_film_comes_it_is_whole_in_the_end(tmp_path: Path, dropper: object) -> None:
    for _ in range(22):
        dropper.plan("films")()  # type: ignore[attr-defined]
    drops = dropper.drops  # type: ignore[attr-defined]
    assert len({drop.pattern for drop in drops}) >= 10
    inbox = tmp_path / "films" / "inbox"
    for drop in drops:
        film = drop.films[-1]
        assert (inbox / drop.path).read_bytes() == CLIPS[film.clip], drop.pattern
        note = inbox / f"{drop.path}.yaml"
        assert (note.read_text() if note.exists() else "") == film.note, drop.pattern
    assert not [path for path in inbox.rglob("*") if path.name.startswith(".") or path.name.endswith(".part")]


def test_equal_dice_make_equal_plans(tmp_path: Path) -> None:
    plans = []
    for _ in range(2):
        dropper = arrivals.Dropper(tmp_path, CLIPS, random.Random(5))
        for _ in range(12):
            dropper.plan("films")
        plans.append(dropper.drops)
    assert plans[0] == plans[1]


def test_a_full_disk_is_waited_for(tmp_path: Path, dropper: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([OSError(28, "No space left on device"), None])
    write = arrivals._write

    def full_once(file: int, data: bytes) -> None:
        if error := next(tries, None):
            raise error
        write(file, data)

    monkeypatch.setattr(arrivals, "_write", full_once)
    dropper.plan("films")()  # type: ignore[attr-defined]
    (drop,) = dropper.drops  # type: ignore[attr-defined]
    assert (tmp_path / "films" / "inbox" / drop.path).read_bytes() == CLIPS[drop.films[-1].clip]
