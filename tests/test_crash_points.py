"""Killed at any crash point, at any pass, and again and again: the next start ends as if nothing had been."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from errno import EINVAL, EPERM, EXDEV
from pathlib import Path
from typing import Any

import fated
import pytest
import toys
from house import House
from rehearsal import Room, Scene, dies_at, passes

from darkroom.daemon import originals, place
from darkroom.daemon import outbox as publishing
from darkroom.daemon.crash_points import CrashPoint
from darkroom.daemon.journal import FILE, Journal

IN_A_ROW = 20
PAGES = toys.Read(bundle=True)


def refusing(errno: int) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        raise OSError(errno, os.strerror(errno))

    return refuse


def without_renames(_room: Room) -> None:
    """NFS: it renames only with replacing."""
    place._rename_free = refusing(EINVAL)


def without_links(room: Room) -> None:
    """Some FUSE file systems: neither that, nor hard links."""
    without_renames(room)
    os.link = refusing(EPERM)


def across(room: Room) -> None:
    """The originals lie on another file system than the inbox."""
    vars(originals)["move_free"] = refusing(EXDEV)


def somebody_is_faster(room: Room) -> None:
    """Takes the second name of a result once the first is given."""
    given = place.place_all

    def interfering(root: int, drafts: Any, **rest: Any) -> None:
        name = room.outbox / os.fsdecode(drafts[-1].path) if len(drafts) > 1 else None
        if name is not None and "(" not in name.name:
            name.write_bytes(b"mine")
        given(root, drafts, **rest)

    vars(publishing)["place_all"] = interfering


def two_pages(room: Room) -> None:
    room.source.write_bytes(b"one two\fthree")


def a_film_of_the_user(room: Room) -> None:
    for name in ("film.bin", "film.txt"):
        path = room.outbox / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of the user")


def a_sidecar(room: Room) -> None:
    (room.source.parent / "film.mkv.yaml").write_text("scale: 3\n")


def a_damaged_journal(room: Room) -> None:
    """With a backup, and the write-ahead log of the damaged one beside it."""
    (room.state / "backups").mkdir(parents=True)
    with Journal(room.state / "backups" / "journal-2033-05-17.db") as journal:
        journal.hold("films", "kept by the backup", now=1.0)
    (room.state / "backups" / "journal-2033-05-17.db-wal").unlink(missing_ok=True)
    (room.state / FILE).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    for end in ("-wal", "-shm"):
        (room.state / f"{FILE}{end}").write_bytes(b"\x37\x7f\x06\x82" + bytes(4096))


DAILY = {"retention": {"results": {"age": "1 d"}, "jobs": {"age": "1 d"}, "max_fraction": 1.0}}
SCENES = [
    Scene(name="a film"),
    Scene(name="staged", folder={"stage": "always"}),
    Scene(name="two files and a report beside", toy=PAGES, folder={"report": "beside"}, furnish=two_pages),
    Scene(name="replacing", folder={"conflict": "replace"}, furnish=a_film_of_the_user),
    Scene(name="beside a taken name", furnish=a_film_of_the_user),
    Scene(name="moved with its sidecar", folder={"originals": "move"}, furnish=a_sidecar),
    Scene(name="moved to another file system", folder={"originals": "move"}, furnish=a_sidecar, disturb=across),
    Scene(name="deleted", folder={"originals": "delete"}, furnish=a_sidecar),
    Scene(name="linked", toy=PAGES, furnish=two_pages, disturb=without_renames),
    Scene(name="held by an empty file", toy=PAGES, furnish=two_pages, disturb=without_links),
    Scene(name="a name lost", toy=PAGES, furnish=two_pages, disturb=somebody_is_faster),
    Scene(name="a damaged journal", furnish=a_damaged_journal),
    Scene(name="the daily run", config=DAILY, daily=True),
]
NAMES = [scene.name.replace(" ", "-") for scene in SCENES]


@pytest.fixture(params=SCENES, ids=NAMES)
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.param
    return found


def undisturbed(root: Path, scene: Scene) -> tuple[Room, list[str]]:
    """Return the room after a start that nobody kills, and what that passed."""
    room = Room(root, scene)
    return room, passes(room.run)


def finish(room: Room, expected: Room) -> None:
    """Start once more, undisturbed, and compare all that is left."""
    passes(room.run)
    assert room.left() == expected.left()
    assert room.ended() == expected.ended()


def test_killed_at_each_pass_of_each_point_it_ends_as_undisturbed(tmp_path: Path, scene: Scene) -> None:
    calm, passed = undisturbed(tmp_path / "calm", scene)
    assert "done" in {state for _, state, _ in calm.ended()} or scene.daily
    for number, point in enumerate(passed):
        room = Room(tmp_path / f"{number}", scene)
        assert dies_at(number, room.run), point
        finish(room, calm)


@pytest.mark.parametrize("scene", SCENES[2::3], ids=NAMES[2::3])
def test_killed_again_and_again_in_the_start_after_it_ends_as_undisturbed(tmp_path: Path, scene: Scene) -> None:
    """The process dies in mid-job, and each of the next starts at its first pass, its second and so on."""
    calm, passed = undisturbed(tmp_path / "calm", scene)
    room = Room(tmp_path / "room", scene)
    assert dies_at(len(passed) * 2 // 3, room.run)
    for death in range(IN_A_ROW):
        dies_at(death % 10, room.run)
    finish(room, calm)


def test_every_point_is_rehearsed(tmp_path: Path) -> None:
    met = {point for scene in SCENES for point in undisturbed(tmp_path / scene.name, scene)[1]}
    assert met == {str(point) for point in CrashPoint}


# -- the whole daemon ------------------------------------------------------------------------------------------------

STARTS = (CrashPoint.RECOVERY_BEGUN, CrashPoint.RECOVERY_ENDED)
UNUSUAL = (
    *(CrashPoint.PLACE_LINKED, CrashPoint.PLACE_CLAIMED, CrashPoint.PLACE_HELD, CrashPoint.PLACE_WITHDRAWN),
    *(CrashPoint.ORIGINAL_COPIED, CrashPoint.JOURNAL_ASIDE, CrashPoint.REMOVAL_DUE, CrashPoint.REMOVED),
)


class Fated(House):
    """A house with an image in its inbox, whose daemon and worker die as the notes say."""

    program = fated.PROGRAM

    def __init__(self, root: Path) -> None:
        policies = {"originals": "move", "stage": "always", "report": "beside", "options": {"prompt": "sea"}}
        super().__init__(root, None, name="art", pipeline="paint", **policies)
        (self.inbox / "a").mkdir()
        (self.inbox / "a" / "cat.jpg").write_bytes(b"image of a cat")
        self.notes = root.with_name("notes")
        self.notes.mkdir()

    def note(self, point: CrashPoint, passes: str) -> None:
        (self.notes / point).write_text(passes)

    def finish(self) -> None:
        """Start again until a start is not killed, and see that all is as it should be."""
        while self.drain() == -signal.SIGKILL:
            assert not self.workers()
        results = self.results()
        assert json.loads(results.pop("a/cat.out.json"))["result"]["path"] == "a/cat.out"
        assert results == {"a/cat.out": b"sea\nsea\n"}
        assert not (self.inbox / "a" / "cat.jpg").exists()
        assert (self.root / "originals" / "art" / "a" / "cat.jpg").read_bytes() == b"image of a cat"
        assert self.strays() == []


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fated]:
    house = Fated(tmp_path / "house")
    monkeypatch.setenv(fated.NOTES, str(house.notes))
    yield house
    house.clear()


@pytest.mark.parametrize("point", [point for point in CrashPoint if point not in UNUSUAL])
def test_daemon_or_worker_killed_at_a_point_loses_nothing(house: Fated, point: CrashPoint) -> None:
    # Small files of the daemon are written first: the third that goes this way is a part, and the worker's.
    house.note(point, "..x" if point.startswith("atomic.") else "x")
    house.finish()
    assert (house.notes / point).read_text() == "", "nobody came by"


def test_a_daemon_killed_in_each_of_twenty_starts_loses_nothing(house: Fated) -> None:
    house.note(CrashPoint.COMMITTED, "..x")
    for point in STARTS:
        house.note(point, "x" * (IN_A_ROW // 2))
    house.finish()
    assert not any((house.notes / point).read_text() for point in STARTS)
