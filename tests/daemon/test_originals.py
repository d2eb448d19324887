import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import toys
from killing import dies_at

from darkroom import pipelines
from darkroom.daemon import originals as module
from darkroom.daemon import place as place_module
from darkroom.daemon.config import Folder
from darkroom.daemon.filesystem import fresh_stat
from darkroom.daemon.job import Job, NewJob
from darkroom.daemon.journal import Journal
from darkroom.daemon.originals import settle_original
from darkroom.daemon.outbox import Publication
from darkroom.daemon.sidecar import sidecar_signature
from darkroom.daemon.states import State

FILM = os.urandom(200_000)


class Place:
    """An inbox with `a/film.avi` whose result is published, and the job of it."""

    def __init__(self, base: Path, originals: Path, policy: Literal["keep", "move", "delete"]) -> None:
        self.inbox, self.outbox, self.originals = base / "inbox", base / "outbox", originals
        for folder in (self.inbox / "a", self.outbox, self.originals):
            folder.mkdir(parents=True, exist_ok=True)
        (self.originals / ".darkroom-outbox").touch()
        (self.inbox / ".darkroom-inbox").touch()
        (self.outbox / "film.mkv").write_bytes(b"result")
        self.publication = Publication(name=b"film.mkv", size_bytes=6, sha256="")
        self.film, self.sidecar = self.inbox / "a/film.avi", self.inbox / "a/film.avi.yaml"
        self.folder = Folder(
            name="films",
            pipeline="upscale",
            inbox=self.inbox,
            outbox=self.outbox,
            originals=policy,
            originals_folder=originals,
        )
        self.journal = Journal(base / "journal.db")

    def drop(self, path: bytes = b"a/film.avi", data: bytes = FILM, sidecar: str = "") -> Job:
        target = self.inbox / os.fsdecode(path)
        target.write_bytes(data)
        os.utime(target, ns=(10**18, 10**18 + 123_456_789))
        beside = Path(f"{target}.yaml")
        if sidecar:
            beside.write_text(sidecar)
        signature = fresh_stat(os.fsencode(target), 0, "").signature
        side = fresh_stat(os.fsencode(beside), 0, "").signature if sidecar else None
        new = NewJob(
            folder="films",
            pipeline="upscale",
            path=path,
            signature=signature,
            sidecar=sidecar_signature(b"film.avi.yaml", side) if side else "",
        )
        [number] = self.journal.enqueue([new], now=0)
        return self.journal.move(number, State.CANCELLED, "so that the path can be used again", now=0)

    def settle(self, job: Job, *others: Job, identities: Mapping[str, str] = {}) -> str:
        batch = [job, *others]
        return settle_original(job, self.folder, self.publication, batch, identities=identities, beat=lambda: None)

    def moved(self) -> dict[str, bytes]:
        found = (path for path in self.originals.rglob("*") if path.is_file() and path.name[0] != ".")
        return {str(path.relative_to(self.originals)): path.read_bytes() for path in found}


@pytest.fixture(params=["same disk", "another disk"])
def originals(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    disk: Path = tmp_path if request.param == "same disk" else request.getfixturevalue("second_disk")
    return disk / "originals"


@pytest.fixture
def moving(tmp_path: Path, originals: Path) -> Place:
    return Place(tmp_path, originals, "move")


@pytest.fixture
def deleting(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "originals", "delete")


def test_keep_touches_nothing(tmp_path: Path) -> None:
    keeping = Place(tmp_path, tmp_path / "originals", "keep")
    assert keeping.settle(keeping.drop()) == ""
    assert keeping.film.exists()


def test_a_moved_original_keeps_its_folders_content_and_time(moving: Place) -> None:
    assert moving.settle(moving.drop()) == ""
    assert moving.moved() == {"a/film.avi": FILM}
    assert (moving.originals / "a/film.avi").stat().st_mtime_ns == 10**18 + 123_456_789
    assert not moving.film.exists()
    assert (moving.inbox / "a").is_dir()  # empty folders stay


def test_an_unchanged_sidecar_goes_along(moving: Place) -> None:
    moving.settle(moving.drop(sidecar="scale: 4"))
    assert moving.moved() == {"a/film.avi": FILM, "a/film.avi.yaml": b"scale: 4"}
    assert list((moving.inbox / "a").iterdir()) == []


def test_a_name_taken_among_the_originals_is_numbered_and_never_replaced(moving: Place) -> None:
    for data in (FILM, FILM[::-1], b"short"):
        assert moving.settle(moving.drop(data=data)) == ""
    assert moving.moved() == {"a/film.avi": FILM, "a/film (2).avi": FILM[::-1], "a/film (3).avi": b"short"}


def test_names_of_any_bytes_are_moved_as_they_are(moving: Place) -> None:
    for name in (b"bad\xff\nname.avi", b"n" * 255):
        assert moving.settle(moving.drop(name)) == ""
        assert Path(os.fsdecode(os.fsencode(moving.originals) + b"/" + name)).read_bytes() == FILM


def test_a_deleted_original_goes_with_its_sidecar(deleting: Place) -> None:
    assert deleting.settle(deleting.drop(sidecar="scale: 4")) == ""
    assert list((deleting.inbox / "a").iterdir()) == []


def test_a_sidecar_that_a_crash_left_goes_after_its_original(deleting: Place) -> None:
    job = deleting.drop(sidecar="scale: 4")
    deleting.film.unlink()
    assert deleting.settle(job) == ""
    assert list((deleting.inbox / "a").iterdir()) == []


def test_settling_again_is_fine(deleting: Place) -> None:
    job = deleting.drop()
    assert (deleting.settle(job), deleting.settle(job)) == ("", "")


@pytest.mark.parametrize("way", ["rename", "link"])
def test_killed_before_any_system_call_moving_is_finished_by_the_next_run(
    moving: Place, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "link":
        monkeypatch.setattr(place_module, "_rename_free", refuse)
    expected: dict[str, bytes] = {}
    for step in range(100):
        job = moving.drop(b"%d.avi" % step, sidecar="scale: 4")
        expected |= {f"{step}.avi": FILM, f"{step}.avi.yaml": b"scale: 4"}
        died = dies_at(step, partial(moving.settle, job))
        for name in (f"{step}.avi", f"{step}.avi.yaml"):
            assert (moving.inbox / name).exists() or (moving.originals / name).read_bytes() == expected[name]
        assert moving.settle(job) == ""
        assert moving.moved() == expected
        assert {path.name for path in moving.inbox.iterdir()} == {".darkroom-inbox", "a"}
        if not died:
            assert step > 4
            return
    pytest.fail("never came to its end")


@pytest.mark.parametrize("policy", ["move", "delete"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda place: place.film.write_bytes(FILM + b"more"), "it changed while it was processed"),
        (lambda place: os.utime(place.film, ns=(0, 10**18)), "it changed while it was processed"),
        (lambda place: place.sidecar.write_text("scale: 2 # now"), "its sidecar changed"),
        (lambda place: (place.outbox / "film.mkv").write_bytes(b"res"), "not in the outbox as it was published"),
        (lambda place: (place.outbox / "film.mkv").unlink(), "not in the outbox as it was published"),
        (lambda place: (place.inbox / ".darkroom-inbox").unlink(), "the inbox is offline"),
    ],
    ids=["longer", "other time", "sidecar", "result cut", "result gone", "inbox offline"],
)
def test_in_any_doubt_the_original_is_kept_with_a_warning(
    tmp_path: Path, policy: Literal["move", "delete"], change: Any, reason: str
) -> None:
    place = Place(tmp_path, tmp_path / "originals", policy)
    job = place.drop(sidecar="scale: 4")
    change(place)
    assert reason in place.settle(job)
    assert place.film.exists() and place.sidecar.exists()


def come_anew(film: Path) -> None:
    draft = film.with_name(".new")
    draft.write_bytes(b"the new version")
    draft.rename(film)


def grow(film: Path) -> None:
    with film.open("ab") as file:
        file.write(b"and more")


@pytest.mark.parametrize("change", [come_anew, grow])
@pytest.mark.parametrize("crashed", [False, True])
def test_a_version_that_comes_while_the_old_one_is_copied_away_stays(
    tmp_path: Path, change: Callable[[Path], None], crashed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = Place(tmp_path, tmp_path / "originals", "move")
    job = moving.drop()
    if crashed:  # after the copy was there: it is compared with the source, which takes as long
        (moving.originals / "a").mkdir()
        (moving.originals / "a/film.avi").write_bytes(FILM)
    step = "is_there" if crashed else "place"
    monkeypatch.setattr(module, "move_free", refuse)

    def disturbed(*arguments: Any, **options: Any) -> Any:
        done = getattr(place_module, step)(*arguments, **options)
        change(moving.film)
        return done

    monkeypatch.setattr(module, step, disturbed)
    assert "a new version of it came at the last moment" in moving.settle(job)
    assert moving.film.read_bytes() in (b"the new version", FILM + b"and more")
    assert moving.moved() == {"a/film.avi": FILM}


def test_a_version_that_comes_as_the_old_one_is_about_to_be_deleted_stays(
    deleting: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = deleting.drop()

    def slowly(*_: Any) -> list[bytes]:
        come_anew(deleting.film)
        return []

    monkeypatch.setattr(module, "_of_no_other", slowly)
    assert "a new version of it came at the last moment" in deleting.settle(job)
    assert deleting.film.read_bytes() == b"the new version"


@pytest.mark.parametrize("policy", ["move", "delete"])
def test_a_link_put_in_place_of_the_source_or_its_folder_is_not_followed(
    tmp_path: Path, policy: Literal["move", "delete"]
) -> None:
    place = Place(tmp_path, tmp_path / "originals", policy)
    job = place.drop()
    outside = tmp_path / "outside"
    place.film.parent.rename(outside)
    place.film.parent.symlink_to(outside)
    assert "original kept" in place.settle(job)
    place.film.parent.unlink()
    place.film.parent.mkdir()
    place.film.symlink_to(outside / "film.avi")
    assert "it is a link" in place.settle(job)
    assert (outside / "film.avi").read_bytes() == FILM


def test_a_file_added_by_its_absolute_path_is_kept(deleting: Place) -> None:
    job = replace(deleting.drop(), path=os.fsencode(deleting.film))
    assert deleting.settle(job) == ""
    assert deleting.film.exists()


def test_an_originals_folder_that_is_not_mounted_gets_nothing_and_the_original_stays(moving: Place) -> None:
    job = moving.drop()
    (moving.originals / ".darkroom-outbox").unlink()
    assert "is missing: is the share mounted?" in moving.settle(job)
    assert moving.film.exists()
    assert list(moving.originals.iterdir()) == []


@pytest.mark.parametrize("place", ["inbox", "originals"])
def test_another_share_in_the_place_of_inbox_or_originals_is_left_alone(moving: Place, place: str) -> None:
    job = moving.drop()
    swapped: Path = getattr(moving, place)
    (swapped / (".darkroom-inbox" if place == "inbox" else ".darkroom-outbox")).write_text("that of another\n")
    known = {str(swapped): "that of the right share"}
    assert "another folder's" in moving.settle(job, identities=known)
    assert moving.film.exists() and [path.name for path in moving.originals.iterdir()] == [".darkroom-outbox"]


# -- several jobs of one source, and sources of one stem -------------------------------------------------------------


def sibling(job: Job, state: State, **fields: Any) -> Job:
    values: dict[str, Any] = {"id": 99, "take": 1, "state": state} | fields
    return replace(job, **values)


@pytest.mark.parametrize(
    "state", [State.QUEUED, State.HELD, State.RUNNING, State.FAILED, State.QUARANTINED, State.CANCELLED]
)
def test_a_source_stays_as_long_as_another_of_its_jobs_may_need_it(deleting: Place, state: State) -> None:
    job = deleting.drop(sidecar="[{}, {}]")
    kept = deleting.settle(job, job, sibling(job, State.DONE), sibling(job, state, id=100))
    assert kept == f"a/film.avi: original kept: it waits for job 100 ({state}) of the same file"
    assert deleting.film.exists() and deleting.sidecar.exists()


def test_of_many_jobs_a_few_are_named(deleting: Place) -> None:
    job = deleting.drop()
    others = [sibling(job, State.QUEUED, id=number) for number in range(50, 57)]
    assert "jobs 50 (queued), 51 (queued), 52 (queued), 53 (queued), 54 (queued) and 2 more" in deleting.settle(
        job, *others
    )


@pytest.mark.parametrize(("attempts", "gone"), [(0, True), (1, False)])
def test_an_entry_skipped_as_a_duplicate_needs_no_source_but_one_skipped_for_its_name_does(
    deleting: Place, attempts: int, gone: bool
) -> None:
    job = deleting.drop()
    deleting.settle(job, sibling(job, State.DONE), sibling(job, State.SKIPPED, attempts=attempts))
    assert deleting.film.exists() != gone


def test_of_two_jobs_that_publish_at_once_the_one_that_is_out_is_not_waited_for(deleting: Place) -> None:
    job = deleting.drop()
    other = sibling(job, State.PUBLISHING, result=b"film (2).mkv", result_size=6)
    assert "it waits for job 99 (publishing)" in deleting.settle(job, other)
    (deleting.outbox / "film (2).mkv").write_bytes(b"result")
    assert deleting.settle(job, other) == ""
    assert not deleting.film.exists()


@pytest.mark.parametrize("policy", ["move", "delete"])
def test_a_source_that_another_of_its_jobs_takes_away_meanwhile_is_settled(
    tmp_path: Path, policy: Literal["move", "delete"], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, tmp_path / "originals", policy)
    job = place.drop(sidecar="[{}, {}]")
    other = replace(job, id=2, take=1)
    own = module._of_no_other

    def slower(*arguments: Any) -> list[bytes]:
        monkeypatch.setattr(module, "_of_no_other", own)
        assert place.settle(other) == ""
        return own(*arguments)

    monkeypatch.setattr(module, "_of_no_other", slower)
    assert place.settle(job) == ""
    assert list((place.inbox / "a").iterdir()) == []
    assert set(place.moved()) == ({"a/film.avi", "a/film.avi.yaml"} if policy == "move" else set())


@pytest.mark.parametrize("policy", ["move", "delete"])
def test_a_prompt_goes_with_the_last_image_of_its_stem(
    tmp_path: Path, policy: Literal["move", "delete"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    place = Place(tmp_path, tmp_path / "originals", policy)
    place.folder = place.folder.model_copy(update={"pipeline": "paint"})
    prompt = place.inbox / "a/cat.txt"
    prompt.write_text("a cat")
    (place.inbox / "a/cat.mkv").write_text("no image")
    signature = sidecar_signature(b"cat.txt", fresh_stat(os.fsencode(prompt), 0, "").signature)
    cats = [replace(place.drop(name), sidecar=signature) for name in (b"a/cat.jpg", b"a/cat.png")]
    assert place.settle(cats[0]) == ""
    assert prompt.exists() and not (place.inbox / "a/cat.jpg").exists()
    assert place.settle(cats[1]) == ""
    assert {path.name for path in (place.inbox / "a").iterdir()} == {"cat.mkv"}
    assert set(place.moved()) == ({"a/cat.jpg", "a/cat.png", "a/cat.txt"} if policy == "move" else set())


def test_a_prompt_that_another_sidecar_outdid_meanwhile_keeps_the_image(
    deleting: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    deleting.folder = deleting.folder.model_copy(update={"pipeline": "paint"})
    (deleting.inbox / "a/cat.txt").write_text("a cat")
    seen = fresh_stat(os.fsencode(deleting.inbox / "a/cat.txt"), 0, "").signature
    job = replace(deleting.drop(b"a/cat.jpg"), sidecar=sidecar_signature(b"cat.txt", seen))
    (deleting.inbox / "a/cat.yaml").write_text("prompt: a dog")
    assert "its sidecar changed while it was processed" in deleting.settle(job)


def refuse(*_: Any) -> None:
    raise OSError(22, "Invalid argument")
