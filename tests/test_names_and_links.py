"""Whatever a file is called and whatever it is: a whole daemon takes what is a file, says why it leaves the rest, and
shows no name so that it drives a terminal."""

import json
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from house import House, wait_until
from studio import PROGRAM

from darkroom.daemon import live
from darkroom.daemon.job import printable
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.names import LIMIT_BYTES


class Studio(House):
    """A house that paints: a second for a daemon and its worker, whatever is in the files."""

    program = PROGRAM

    def __init__(self, root: Path, settings: dict[str, object] | None = None, **folder: object) -> None:
        super().__init__(root, None, **{"name": "art", "pipeline": "paint", "options": {"prompt": "x"}} | folder)
        with self.settings() as written:
            written |= settings or {}

    def put(self, name: bytes | str, data: bytes | None = None) -> Path:
        """Write the file `name` in the inbox, with content of its own, and return its path."""
        path = self.inbox / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image " + os.fsencode(name) if data is None else data)
        return path

    def states(self) -> dict[str, str]:
        with Journal(self.state / FILE, readonly=True) as journal:
            return {job.name: job.state for job in journal.jobs()}

    def waiting(self) -> dict[str, str]:
        """Return what the running daemon has seen and not queued, with the reasons."""
        now = live.read(self.state)
        return dict(now.folders["art"].waiting) if now else {}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(tmp_path / "studio")
    yield studio
    studio.clear()


# -- names -----------------------------------------------------------------------------------------------------------

NAMES = [
    *(b"new\nline.jpg", b"12:00:00\n<0>job=1 all is lost.jpg", b"tab\tcr\r.jpg", b"\x1b[2J\x1b]0;owned\x07.jpg"),
    *("c1 \x9b31m.jpg".encode(), "turned \u202egpj.jpg".encode(), "line\u2028end.jpg".encode(), b"\x7f\x01.jpg"),
    *(b"'quo\"ted`$(id)`.jpg", b"-rf.jpg", b"--help.jpg", b"trailing .jpg", b"dot..jpg", b"back\\slash.jpg"),
    *(b"%n %s %03d.jpg", b"{edition-x} {stem} {}.jpg", b"[red]sample[/red].jpg", b"con.jpg", b" leading.jpg"),
    *(b"a" * 251 + b".jpg", "🎬".encode() * 62 + b".jpg", b"bad\xff\xfe.jpg", b"e\xcc\x81.jpg", b"\xc3\xa9.jpg"),
    *(b"Film.jpg", b"film.jpg", b"FILM.JPG", b"CON/a../nul.jpg", b"\x1b[5m/\n/.x.jpg.jpg"),
]  # fmt: skip
HIDDEN = b"\x1b[5m/\n/.x.jpg.jpg"


THERE = {"config.yaml", "inbox", "outbox", "state"}


def assert_shows_plainly(text: str) -> None:
    assert text
    assert all(char.isprintable() or char == "\n" for char in text), text


def test_any_name_is_published_once_and_shown_without_what_drives_a_terminal(studio: Studio) -> None:
    for name in NAMES:
        studio.put(name)
    studio.put(b"not\x1b[2J\ntaken.exe")
    assert studio.drain() == 0
    taken = {printable(name) for name in NAMES if name != HIDDEN}
    assert studio.states() == dict.fromkeys(taken, "done")
    reports = [json.loads(path.read_text()) for path in studio.state.glob("reports/art/**/*.json")]
    assert {report["source"]["path"] for report in reports} == taken
    assert len(studio.results()) == len({report["result"]["path"] for report in reports}) == len(taken)
    for line in studio.lines:
        assert re.match(r"\d\d:\d\d:\d\d ", line), f"a name made a line of its own: {line!r}"
        assert_shows_plainly(line)
    for path in studio.state.glob("reports/art/**/*.json"):
        assert_shows_plainly(path.read_text())
    for command in (["jobs"], ["jobs", "--json"], ["status"], ["show", "1"], ["show", "4", "--json"]):
        assert_shows_plainly(studio.command(*command).stdout)
    for result in studio.results():
        for part in Path(result).parts:
            assert part.isprintable() and len(part.encode()) <= LIMIT_BYTES
            assert not re.search(r'[\\<>:"|?*]', part) and part[0] not in ". " and part[-1] not in ". "
            assert not re.match(r"(con|nul)(\.|$)", part, re.IGNORECASE)
    assert not [path for path in studio.root.iterdir() if path.name not in THERE], "something left its folder"


TEMPORARY = {  # what copies and downloads are called on their way, and what they become
    **{f"{name}.jpg{end}": f"{name}.jpg" for name, end in enumerate(
        [".part", ".tmp", ".crdownload", ".!qB", ".!ut", ".!sync", ".partial~", ".backup~", ".unmanic.part", ".aria2"]
    )},
    ".r.jpg.a8f3Kd": "r.jpg",  # rsync
    ".~tmp~/r2.jpg": "r2.jpg",  # rsync --delay-updates
    ".syncthing.s.jpg.tmp": "s.jpg",
    "~syncthing~s2.jpg.tmp": "s2.jpg",
    "s.sync-conflict-20260101-101112-ABCDEFG.jpg": "s3.jpg",
    ".stfolder/s4.jpg": "s4.jpg",
    ".stversions/s5.jpg": "s5.jpg",
    ".n.jpg.ocTransferId1234567.part": "n.jpg",
    ".sync/b.jpg": "b.jpg",
    "_UNPACK_film/u.jpg": "film/u.jpg",
    "_FAILED_film/u2.jpg": "film/u2.jpg",
    "._m.jpg": "m.jpg",
    "~$w.jpg": "w.jpg",
    "@eaDir/y.jpg": "y.jpg",
    "#recycle/y2.jpg": "y2.jpg",
    "@Recycle/q.jpg": "q.jpg",
    ".@__thumb/q2.jpg": "q2.jpg",
    ".nfs000000000123abcd": "nfs.jpg",
    "Thumbs.db": "t.jpg",
    "desktop.ini": "t2.jpg",
    ".DS_Store": "t3.jpg",
}  # fmt: skip


def test_a_temporary_name_is_left_alone_with_a_reason_and_its_file_is_taken_once_it_is_renamed(studio: Studio) -> None:
    for name in TEMPORARY:
        studio.put(name)
    studio.start()
    studio.see("jobs may start")
    wait_until(lambda: len(studio.waiting()) == len({seen_as(name) for name in TEMPORARY}))
    reasons = studio.waiting()
    assert all(reasons[seen_as(name)].startswith("ignored: ") for name in TEMPORARY), reasons
    assert studio.states() == {}
    for name, final in TEMPORARY.items():
        (studio.inbox / final).parent.mkdir(exist_ok=True)
        (studio.inbox / name).rename(studio.inbox / final)
    wait_until(lambda: studio.states() == dict.fromkeys(TEMPORARY.values(), "done"))
    assert studio.stop() == 0
    assert len(studio.results()) == len(TEMPORARY)


def seen_as(name: str) -> str:
    """Return what is told of `name`: of a folder that is left alone only itself."""
    folder, slash, _ = name.partition("/")
    return folder + slash


# -- what is no file, or more than one name of it --------------------------------------------------------------------


@pytest.fixture
def odd(studio: Studio) -> Studio:
    """An inbox with one image, and with all that only looks like one."""
    inbox, outside = studio.inbox, studio.root / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    studio.put("plain.jpg")
    os.mkfifo(inbox / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(inbox / "socket.jpg"))
    with suppress(PermissionError):  # it takes root, and a machine that lets root
        os.mknod(inbox / "zero.jpg", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (inbox / "empty.jpg").touch()
    studio.put("folder.jpg/inner.jpg")
    links: dict[str, str | Path] = {
        "outside.jpg": outside / "secret.jpg",
        "dangling.jpg": "nothing",
        "self.jpg": "self.jpg",
        "up.jpg": "..",
    }
    for name, target in {**links, "inside.jpg": "plain.jpg", "away": outside, "loop": "."}.items():
        (inbox / name).symlink_to(target)
    studio.put("odd\x1b[2J\n.exe")
    return studio


def test_what_is_no_file_is_told_with_its_reason_and_holds_up_nothing(odd: Studio) -> None:
    odd.start()
    wait_until(lambda: sum("done: published as" in line for line in odd.lines) == 2)
    wait_until(lambda: "empty.jpg" in odd.waiting())
    link = "symbolic link: `symlinks: true` takes what is behind it"
    links = dict.fromkeys(["outside.jpg", "dangling.jpg", "self.jpg", "up.jpg", "inside.jpg"], link)
    others = {"fifo.jpg": "not a regular file", "socket.jpg": "not a regular file", "empty.jpg": "empty"}
    others |= {"zero.jpg": "not a regular file"} if (odd.inbox / "zero.jpg").exists() else {}
    told = odd.waiting()
    assert told.pop(r"odd\x1b[2J\n.exe") == "ignored: .exe is no source of paint"
    assert {name: why for name, why in told.items() if name not in ("away", "loop")} == links | others
    for command in (["status", "--all"], ["status", "--json"]):
        assert_shows_plainly(odd.command(*command).stdout)
    assert odd.stop() == 0
    assert odd.states() == {"plain.jpg": "done", "folder.jpg/inner.jpg": "done"}
    assert set(odd.results()) == {"plain.out", "folder.jpg/inner.out"}
    assert (odd.root / "outside/secret.jpg").read_bytes() == b"secret"


def test_one_content_under_many_names_is_made_once_and_a_result_that_is_copied_back_is_no_source(
    studio: Studio,
) -> None:
    studio.put("a.jpg", b"one")
    studio.put("copy.jpg", b"one")
    os.link(studio.inbox / "a.jpg", studio.inbox / "hard.jpg")
    assert studio.drain() == 0
    assert sorted(studio.states().values()) == ["done", "skipped", "skipped"]
    (result,) = studio.results().values()
    studio.put("back.out", result)
    assert studio.drain() == 0
    assert len(studio.states()) == 3 and len(studio.results()) == 1


# -- versions --------------------------------------------------------------------------------------------------------


def replace(studio: Studio, name: str, data: bytes) -> None:
    """Let another program put a new version in place, as copy programs do."""
    studio.put(".new", data).rename(studio.inbox / name)


def test_a_file_that_is_replaced_or_cut_while_it_waits_or_runs_is_made_once_in_its_last_version(tmp_path: Path) -> None:
    go = tmp_path / "go"
    studio = Studio(tmp_path / "studio", options={"prompt": "x", "after": str(go)}, originals="delete")
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        studio.put(name)
    studio.start()
    studio.see("job=4 d.jpg queued")
    studio.see("job=1 a.jpg 2 of 2 segments to do")
    mark = len(studio.lines)
    replace(studio, "a.jpg", b"a, the second")  # while it runs
    replace(studio, "b.jpg", b"b, the second")  # while it is queued
    os.truncate(studio.inbox / "c.jpg", 5)
    (studio.inbox / "d.jpg").unlink()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        studio.see(f"{name} queued in art", mark)
    studio.see("job=4 d.jpg cancelled in art: the file is no longer in the inbox")
    go.touch()
    for name in ("a.out", "b.out", "c.out"):
        studio.see(f"done: published as {name}")
    assert studio.stop() == 0
    assert sorted(studio.results()) == ["a.out", "b.out", "c.out"]
    with Journal(studio.state / FILE, readonly=True) as journal:
        made = {job.name: (job.state, job.size_bytes) for job in sorted(journal.jobs(), key=lambda job: job.id)}
    assert made == {"a.jpg": ("done", 13), "b.jpg": ("done", 13), "c.jpg": ("done", 5), "d.jpg": ("cancelled", 11)}
    assert not list(studio.inbox.glob("*.jpg")), "the last versions are done with, and so deleted"
    studio.clear()


SWAPPING = """
import os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
inbox, point = Path({inbox!r}), {point!r}
def swap(event, arguments):
    if event == point and (inbox / ".new").exists():
        os.rename(inbox / ".new", inbox / "a.jpg")
sys.addaudithook(swap)
import studio
studio.main(tuple(sys.orig_argv[:4]))
"""


@pytest.mark.parametrize(
    ("policy", "point"), [("delete", "place.named"), ("delete", "original.due"), ("move", "original.due")]
)
def test_a_file_that_is_replaced_while_its_result_is_published_has_both_versions_made(
    tmp_path: Path, point: str, policy: str
) -> None:
    studio = Studio(tmp_path / "studio", originals=policy)
    code = SWAPPING.format(here=str(Path(__file__).parent), inbox=str(studio.inbox), point=f"darkroom.{point}")
    studio.program = (sys.executable, "-P", "-c", code)
    studio.put("a.jpg", b"the first")
    studio.put(".new", b"the second one")
    assert studio.drain() == 0
    assert studio.drain() == 0
    assert not (studio.inbox / ".new").exists() and not (studio.inbox / "a.jpg").exists()
    with Journal(studio.state / FILE, readonly=True) as journal:
        assert [(job.state, job.size_bytes) for job in sorted(journal.jobs(), key=lambda job: job.id)] == [
            ("done", 9),
            ("done", 14),
        ]
    assert sorted(studio.results()) == ["a (2).out", "a.out"]
    studio.clear()
