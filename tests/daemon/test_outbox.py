import errno
import hashlib
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from killing import dies_at

from darkroom.daemon import place as place_module
from darkroom.daemon.marker import OUTBOX, adopt
from darkroom.daemon.outbox import Conflict, Publication, choose, is_published, publish
from darkroom.daemon.place import NameTaken
from darkroom.pipelines.errors import Stopped, Unavailable

DATA = os.urandom(300_000)


def no_beat() -> None:
    pass


@pytest.fixture
def result(tmp_path: Path) -> Path:
    (tmp_path / "result.mkv").write_bytes(DATA)
    return tmp_path / "result.mkv"


@pytest.fixture(params=["same disk", "another disk"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    disk: Path = tmp_path if request.param == "same disk" else request.getfixturevalue("second_disk")
    (disk / "outbox").mkdir()
    (disk / "outbox" / ".darkroom-outbox").write_text("id\n")
    return disk / "outbox"


def chosen(result: Path, outbox: Path, wanted: bytes = b"a/film.mkv", conflict: Conflict = "number") -> Publication:
    return choose(result, outbox, wanted.removesuffix(b".mkv"), conflict=conflict, beat=no_beat)


def published(result: Path, outbox: Path, publication: Publication, conflict: Conflict = "number") -> Path:
    return publish(result, outbox, publication, job=7, conflict=conflict, beat=no_beat)


def files(outbox: Path) -> dict[str, bytes]:
    """All files of the outbox but its marker; a draft left behind would be among them."""
    found = (path for path in outbox.rglob("*") if path.is_file() and path.name != ".darkroom-outbox")
    return {str(path.relative_to(outbox)): path.read_bytes() for path in found}


def test_a_result_is_published_under_its_name_and_stays_in_the_work_folder(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    assert publication == Publication(name=b"a/film.mkv", size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())
    assert published(result, outbox, publication) == outbox / "a/film.mkv"
    assert files(outbox) == {"a/film.mkv": DATA}
    assert result.exists()


def test_publishing_again_changes_nothing(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    first = published(result, outbox, publication).stat()
    result.unlink()  # not even needed any more
    second = published(result, outbox, publication).stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


@pytest.mark.parametrize(
    ("conflict", "way"), [("number", "rename"), ("number", "link"), ("number", "claim"), ("replace", "rename")]
)
def test_killed_before_any_system_call_publishing_is_finished_by_the_next_run(
    result: Path, outbox: Path, conflict: Conflict, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EINVAL, "not here")

    if way != "rename":
        monkeypatch.setattr(place_module, "_rename_free", refused)
    if way == "claim":
        monkeypatch.setattr(os, "link", refused)
    step = 0
    while True:
        name = b"%d/film.mkv" % step
        (outbox / f"{step}").mkdir()
        if conflict == "replace":
            (outbox / f"{step}/film.mkv").write_bytes(b"old")
        publication = chosen(result, outbox, name, conflict)
        died = dies_at(step, partial(published, result, outbox, publication, conflict))
        left = (outbox / f"{step}/film.mkv").read_bytes() if (outbox / f"{step}/film.mkv").exists() else None
        # A claim's empty file is the one thing that may be seen besides nothing, the old and the new file.
        assert left in ({"replace": b"old"}.get(conflict), DATA) or (way == "claim" and left == b"")
        published(result, outbox, publication, conflict)
        assert files(outbox / f"{step}") == {"film.mkv": DATA}
        assert list((outbox / ".darkroom-tmp").iterdir()) == []
        if not died:
            break
        step += 1
    assert step > 10


def test_a_recorded_name_is_kept_for_the_same_result_only(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    published(result, outbox, publication)
    again = choose(result, outbox, b"a/film", conflict="number", before=publication, beat=no_beat)
    assert again == publication
    result.write_bytes(b"another result")
    other = choose(result, outbox, b"a/film", conflict="number", before=publication, beat=no_beat)
    assert other.name == b"a/film (2).mkv"


def test_a_taken_name_is_numbered_upwards(result: Path, outbox: Path) -> None:
    for expected in ("film.mkv", "film (2).mkv", "film (3).mkv"):
        publication = chosen(result, outbox, b"film.mkv")
        assert publication.name.decode() == expected
        published(result, outbox, publication)


@pytest.mark.parametrize(
    ("conflict", "names"),
    [("number", [b"a/film (4).mkv", b"a/film (5).mkv"]), ("replace", [b"a/film (2).mkv", b"a/film (3).mkv"])],
)
def test_a_result_that_is_not_the_first_of_its_file_begins_with_its_own_number(
    result: Path, outbox: Path, conflict: Conflict, names: list[bytes]
) -> None:
    def nth(first: int, conflict: Conflict = conflict) -> bytes:
        return choose(result, outbox, b"a/film", conflict=conflict, first=first, beat=no_beat).name

    assert [nth(first) for first in (3, 1)] == [b"a/film (3).mkv", b"a/film.mkv"], "also where its folder is not there"
    (outbox / "a").mkdir()
    assert [nth(first) for first in (3, 1)] == [b"a/film (3).mkv", b"a/film.mkv"], "others may not be done yet"
    for name in ("film.mkv", "film (2).mkv", "film (3).mkv"):
        (outbox / "a" / name).write_bytes(b"of an earlier run")
    assert nth(2) == names[0]
    (outbox / names[0].decode()).touch()
    assert nth(3) == names[1]
    with pytest.raises(NameTaken, match=r"film \(3\)\.mkv: the outbox has a file of this name"):
        nth(3, "skip")
    assert nth(9, "skip") == b"a/film (9).mkv"


def test_a_name_taken_after_it_was_chosen_is_told_and_not_replaced(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox, b"film.mkv")
    (outbox / "film.mkv").write_bytes(b"x" * len(DATA))  # even of the same size
    with pytest.raises(NameTaken, match=r"film\.mkv"):
        published(result, outbox, publication)
    assert files(outbox) == {"film.mkv": b"x" * len(DATA)}
    assert chosen(result, outbox, b"film.mkv").name == b"film (2).mkv"


def test_skip_refuses_a_taken_name_with_its_reason(result: Path, outbox: Path) -> None:
    (outbox / "film.mkv").touch()
    with pytest.raises(NameTaken, match=r"film\.mkv: the outbox has a file of this name; conflict is skip"):
        chosen(result, outbox, b"film.mkv", "skip")


def test_replace_takes_the_place_of_a_file_but_never_of_a_folder(result: Path, outbox: Path) -> None:
    (outbox / "film.mkv").write_bytes(b"old")
    (outbox / "folder.mkv").mkdir()
    for wanted, name in ((b"film.mkv", "film.mkv"), (b"folder.mkv", "folder (2).mkv")):
        publication = chosen(result, outbox, wanted, "replace")
        published(result, outbox, publication, "replace")
        assert (outbox / name).read_bytes() == DATA


def test_an_outbox_without_its_marker_gets_nothing(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    (outbox / ".darkroom-outbox").unlink()
    for step in (lambda: chosen(result, outbox), lambda: published(result, outbox, publication)):
        with pytest.raises(Unavailable, match=r"outbox offline.*mounted"):
            step()
    assert list(outbox.iterdir()) == []


def test_an_outbox_that_is_gone_is_unavailable(result: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"No such file or directory; is it mounted\?"):
        chosen(result, tmp_path / "gone")


def test_a_link_planted_in_the_outbox_does_not_lead_outside(result: Path, outbox: Path, tmp_path: Path) -> None:
    publication = chosen(result, outbox)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outbox / "a").symlink_to(outside)
    with pytest.raises(Unavailable, match="symbolic link"):
        published(result, outbox, publication)
    assert list(outside.iterdir()) == []


def test_a_result_that_was_damaged_after_it_was_measured_is_not_published(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    result.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with pytest.raises(Unavailable, match="copy differs"):
        published(result, outbox, publication)
    assert files(outbox) == {}


def test_a_result_that_is_gone_is_unavailable(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    result.unlink()
    with pytest.raises(Unavailable, match="No such file"):
        published(result, outbox, publication)


def test_a_stop_during_the_copy_leaves_no_draft_and_publishing_goes_on_later(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)

    def stop() -> None:
        raise Stopped("drain")

    with pytest.raises(Stopped):
        publish(result, outbox, publication, job=7, conflict="number", beat=stop)
    assert files(outbox) == {}
    published(result, outbox, publication)
    assert files(outbox) == {"a/film.mkv": DATA}


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB with an outbox on it."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        (folder / ".darkroom-outbox").touch()
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_outbox_is_unavailable_until_there_is_room(result: Path, tiny: Path) -> None:
    publication = chosen(result, tiny)
    with pytest.raises(Unavailable, match="No space left on device; free some space"):
        published(result, tiny, publication)
    assert files(tiny) == {}
    subprocess.run(["mount", "-o", "remount,size=1m", str(tiny)], check=True)
    published(result, tiny, publication)
    assert files(tiny) == {"a/film.mkv": DATA}


def test_an_outbox_unmounted_meanwhile_gets_nothing_below_its_mount_point(result: Path, tiny: Path) -> None:
    publication = chosen(result, tiny)
    subprocess.run(["umount", str(tiny)], check=True)
    try:
        with pytest.raises(Unavailable, match="outbox offline"):
            published(result, tiny, publication)
        assert list(tiny.iterdir()) == []
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tiny)], check=True)


def test_another_outbox_in_its_place_gets_nothing(result: Path, outbox: Path) -> None:
    known = marked_anew(outbox)
    publication = choose(result, outbox, b"film", conflict="number", identity=known, beat=lambda: None)
    marked_anew(outbox)
    with pytest.raises(Unavailable, match="another folder's"):
        choose(result, outbox, b"film", conflict="number", identity=known, beat=lambda: None)
    with pytest.raises(Unavailable, match="another folder's"):
        publish(result, outbox, publication, job=1, conflict="number", identity=known, beat=lambda: None)
    assert [path.name for path in outbox.iterdir()] == [OUTBOX]
    now = adopt(outbox, OUTBOX)
    path = publish(result, outbox, publication, job=1, conflict="number", identity=now, beat=lambda: None)
    assert path.read_bytes() == result.read_bytes()


def marked_anew(outbox: Path) -> str:
    (outbox / OUTBOX).unlink(missing_ok=True)
    return adopt(outbox, OUTBOX)


def test_is_published_looks_for_the_recorded_size(result: Path, outbox: Path) -> None:
    publication = chosen(result, outbox)
    assert not is_published(outbox, publication)
    path = published(result, outbox, publication)
    assert is_published(outbox, publication)
    path.write_bytes(b"cut short")
    assert not is_published(outbox, publication)


# -- a result of several files ----------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A scan as a PDF, its text, and an empty table."""
    folder = tmp_path / "result.files"
    folder.mkdir()
    for name, data in (("0.pdf", DATA), ("1.txt", b"text"), ("2.xlsx", b"")):
        (folder / name).write_bytes(data)
    return folder


WHOLE = {"scan.pdf": DATA, "scan.txt": b"text", "scan.xlsx": b""}


def test_all_files_of_a_result_get_one_stem_and_the_first_is_the_one_it_is_known_by(bundle: Path, outbox: Path) -> None:
    publication = chosen(bundle, outbox, b"a/scan")
    assert [file.name for file in publication.files] == [b"a/scan.pdf", b"a/scan.txt", b"a/scan.xlsx"]
    assert [file.size_bytes for file in publication.files] == [len(DATA), 4, 0]
    assert published(bundle, outbox, publication) == outbox / "a/scan.pdf"
    assert files(outbox / "a") == WHOLE
    assert is_published(outbox, publication)
    (outbox / "a/scan.txt").unlink()
    assert not is_published(outbox, publication)


def test_a_name_that_one_of_the_files_cannot_have_none_of_them_gets(bundle: Path, outbox: Path) -> None:
    (outbox / "scan.txt").write_bytes(b"mine")
    (outbox / "scan (2).xlsx").write_bytes(b"mine")
    publication = chosen(bundle, outbox, b"scan")
    assert [file.name for file in publication.files] == [b"scan (3).pdf", b"scan (3).txt", b"scan (3).xlsx"]
    with pytest.raises(NameTaken, match=r"scan\.txt: .* conflict is skip"):
        chosen(bundle, outbox, b"scan", "skip")
    assert {file.name for file in chosen(bundle, outbox, b"scan", "replace").files} == {
        b"scan.pdf",
        b"scan.txt",
        b"scan.xlsx",
    }
    (outbox / "scan.pdf").mkdir()
    assert chosen(bundle, outbox, b"scan", "replace").name == b"scan (3).pdf"


def test_long_names_are_cut_at_one_place_for_all_files(bundle: Path, outbox: Path) -> None:
    (outbox / f"{'s' * 235}.txt").touch()
    stems = {file.name.rpartition(b".")[0] for file in chosen(bundle, outbox, b"s" * 235).files}
    assert stems == {b"s" * 231 + b" (2)"}


@pytest.mark.parametrize("conflict", ["number", "replace"])
def test_killed_before_any_system_call_all_files_are_there_after_the_next_run(
    bundle: Path, outbox: Path, conflict: Conflict
) -> None:
    step = 0
    while True:
        (outbox / f"{step}").mkdir()
        if conflict == "replace":
            (outbox / f"{step}/scan.txt").write_bytes(b"old")
        publication = chosen(bundle, outbox, b"%d/scan" % step, conflict)
        died = dies_at(step, partial(published, bundle, outbox, publication, conflict))
        left = files(outbox / f"{step}")
        assert all(data in (WHOLE[name], b"old") for name, data in left.items())
        if "scan.pdf" in left:
            assert left == WHOLE, "the file that the result is known by came before the others"
        published(bundle, outbox, publication, conflict)
        assert files(outbox / f"{step}") == WHOLE
        assert list((outbox / ".darkroom-tmp").iterdir()) == []
        if not died:
            break
        step += 1
    assert step > 20


def test_a_name_taken_between_two_runs_takes_back_what_the_first_had_placed(bundle: Path, outbox: Path) -> None:
    publication = chosen(bundle, outbox, b"scan")
    (outbox / "scan.xlsx").touch()  # as the first run left it
    (outbox / "scan.pdf").write_bytes(b"mine")
    with pytest.raises(NameTaken, match=r"scan\.pdf"):
        published(bundle, outbox, publication)
    assert files(outbox) == {"scan.pdf": b"mine"}
    again = chosen(bundle, outbox, b"scan")
    published(bundle, outbox, again)
    assert files(outbox) == {"scan.pdf": b"mine"} | {name.replace(".", " (2)."): data for name, data in WHOLE.items()}


def test_a_disk_that_is_full_for_one_of_the_files_gets_none(bundle: Path, tiny: Path) -> None:
    publication = chosen(bundle, tiny, b"scan")
    with pytest.raises(Unavailable, match="No space left on device"):
        published(bundle, tiny, publication)
    assert files(tiny) == {}


def test_a_result_of_which_one_file_differs_is_another_result(bundle: Path, outbox: Path) -> None:
    publication = chosen(bundle, outbox, b"scan")
    published(bundle, outbox, publication)
    assert choose(bundle, outbox, b"scan", conflict="number", before=publication, beat=no_beat) == publication
    (bundle / "1.txt").write_bytes(b"next")
    other = choose(bundle, outbox, b"scan", conflict="number", before=publication, beat=no_beat)
    assert other.name == b"scan (2).pdf"
