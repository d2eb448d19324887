import os
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
import toys
from watchdog.events import FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.polling import PollingEmitter

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.ignore import Rules
from darkroom.daemon.scan import Listing, scan


def listing(inbox: Path, *, max_depth: int = 16, symlinks: bool = False, **folder: Any) -> Listing:
    settings = {"name": "films", "pipeline": "upscale", "inbox": inbox, "outbox": "/out", **folder}
    rules = Rules(Folder.model_validate(settings), Watch.model_validate({}))
    with opened_folder(inbox) as root:
        return scan(root, inbox, rules, max_depth=max_depth, symlinks=symlinks)


def put(path: Path, data: bytes = b"film") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_files_are_found_at_any_depth_with_their_signature(tmp_path: Path) -> None:
    put(tmp_path / "a.mkv")
    deep = put(tmp_path / "b/c/d.mp4", b"12345")
    found = listing(tmp_path)
    assert set(found.files) == {b"a.mkv", b"b/c/d.mp4"}
    signature, seen = found.files[b"b/c/d.mp4"], deep.stat()
    assert (signature.size_bytes, signature.mtime_ns, signature.inode) == (5, seen.st_mtime_ns, seen.st_ino)
    assert (found.folders, found.reasons) == (3, {})


NAMES = [
    *(
        b"new\nline.mkv",
        b"tab\t\x1b[31mred.mkv",
        b"bad\xff\xfeutf8.mkv",
        b"'quo\"ted.mkv",
        b"-rf.mkv",
        b"%n {edition-x}.mkv",
    ),
    *(
        b"a" * 251 + b".mkv",
        "🎬".encode() * 62 + b".mkv",
        b"e\xcc\x81.mkv",
        b"\xc3\xa9.mkv",
        b"trailing .mkv",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_found_as_the_file_system_spells_it(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    assert set(listing(tmp_path).files) == {name}


def test_what_is_left_alone_has_a_reason(tmp_path: Path) -> None:
    for name in ("a.mkv.part", ".hidden.mkv", "a.txt", "@eaDir/a.mkv", "_UNPACK_b/b.mkv"):
        put(tmp_path / name)
    assert listing(tmp_path).reasons == {
        b"a.mkv.part": "ignored: temporary name *.part",
        b".hidden.mkv": "ignored: hidden",
        b"a.txt": "ignored: .txt is no source of upscale",
        b"@eaDir/": "ignored: folder of another program",
        b"_UNPACK_b/": "ignored: folder of another program",
    }


def test_our_own_marker_is_not_worth_a_word(tmp_path: Path) -> None:
    put(tmp_path / ".darkroom-inbox")
    assert listing(tmp_path).reasons == {}


def test_what_is_no_file_is_not_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mkv")
    (tmp_path / "folder.mkv").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tmp_path / "socket.mkv"))
        found = listing(tmp_path)
    assert found.files == {}
    assert found.reasons == {b"fifo.mkv": "not a regular file", b"socket.mkv": "not a regular file"}


def test_an_outbox_mounted_in_an_inbox_is_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path / "results/.darkroom-outbox")
    put(tmp_path / "results/deep/film.mkv")
    put(tmp_path / "film.mkv")
    found = listing(tmp_path)
    assert set(found.files) == {b"film.mkv"}
    assert found.reasons == {b"results/": "an outbox: results are no sources"}


def test_depth_is_limited_and_said(tmp_path: Path) -> None:
    put(tmp_path / "1/2/a.mkv")
    put(tmp_path / "1/2/3/b.mkv")
    found = listing(tmp_path, max_depth=2)
    assert set(found.files) == {b"1/2/a.mkv"}
    assert found.reasons == {b"1/2/3/": "deeper than watch.max_depth (2): not looked into"}


def test_sidecars_are_kept_apart_and_need_their_file(tmp_path: Path) -> None:
    for name in ("d/a.mkv", "d/a.mkv.yaml", "b.mkv.yml", "notes.yaml"):
        put(tmp_path / name)
    found = listing(tmp_path)
    assert set(found.sidecars) == {b"d/a.mkv.yaml", b"b.mkv.yml"}
    assert found.reasons == {
        b"b.mkv.yml": "sidecar without its file b.mkv",
        b"notes.yaml": "ignored: .yaml is no source of upscale",
    }


def test_prompts_are_kept_apart_and_need_a_source_of_their_stem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    for name in ("d/cat.jpg", "d/cat.txt", "d/cat.yaml", "cat.txt", "dog.yml", "fox.jpg.yaml", "owl.mkv", "owl.txt"):
        put(tmp_path / name)
    found = listing(tmp_path, pipeline="paint")
    assert set(found.files) == {b"d/cat.jpg"}
    assert set(found.sidecars) == {b"d/cat.txt", b"d/cat.yaml", *(b"cat.txt", b"dog.yml", b"fox.jpg.yaml", b"owl.txt")}
    assert found.reasons == {
        b"cat.txt": "prompt without its file cat.*",
        b"dog.yml": "sidecar without its file dog.*",
        b"fox.jpg.yaml": "sidecar without its file fox.jpg",
        b"owl.txt": "prompt without its file owl.*",
        b"owl.mkv": "ignored: .mkv is no source of paint",
    }


def test_a_film_takes_no_text_for_a_prompt(tmp_path: Path) -> None:
    for name in ("cat.mkv", "cat.txt", "cat.yaml"):
        put(tmp_path / name)
    assert listing(tmp_path).sidecars == {}
    assert listing(tmp_path).reasons[b"cat.txt"] == "ignored: .txt is no source of upscale"


# -- links -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    inbox = tmp_path / "in"
    put(inbox / "real/film.mkv")
    put(tmp_path / "secret.mkv")
    put(tmp_path / "outside/b.mkv")
    put(tmp_path / "in-sibling/c.mkv")
    links: dict[str, str | Path] = {
        "inside.mkv": "real/film.mkv",
        "outside.mkv": tmp_path / "secret.mkv",
        "sibling.mkv": tmp_path / "in-sibling/c.mkv",  # its path begins with that of the inbox
        "dangling.mkv": "nothing",
        "self.mkv": "self.mkv",
        "parent.mkv": "..",
        "folder.mkv": "real",
        "loop": "../in",
        "escape": tmp_path / "outside",
    }
    for name, target in links.items():
        (inbox / name).symlink_to(target)
    return inbox


def test_links_are_not_followed_unless_wanted(linked: Path) -> None:
    found = listing(linked)
    assert set(found.files) == {b"real/film.mkv"}
    assert found.reasons[b"inside.mkv"] == "symbolic link: `symlinks: true` takes what is behind it"


def test_wanted_links_are_followed_to_files_in_the_inbox_only(linked: Path) -> None:
    found = listing(linked, symlinks=True)
    assert set(found.files) == {b"real/film.mkv", b"inside.mkv"}
    assert found.links == {b"inside.mkv": b"real/film.mkv"}
    assert found.files[b"inside.mkv"] == found.files[b"real/film.mkv"]
    assert {path: reason for path, reason in found.reasons.items() if path.endswith(b".mkv")} == {
        b"outside.mkv": "symbolic link out of the inbox",
        b"sibling.mkv": "symbolic link out of the inbox",
        b"parent.mkv": "symbolic link out of the inbox",
        b"dangling.mkv": "symbolic link to nothing: No such file or directory",
        b"self.mkv": "symbolic link to nothing: Too many levels of symbolic links",
        b"folder.mkv": "symbolic link to what is not a regular file",
    }


def test_a_linked_folder_is_never_entered(linked: Path) -> None:
    for symlinks in (False, True):
        found = listing(linked, symlinks=symlinks)
        assert found.folders == 2  # the inbox and real/
        assert not any(path.startswith((b"loop/", b"escape/")) for path in found.files)


def test_a_link_is_no_sidecar(linked: Path) -> None:
    (linked / "real/film.mkv.yaml").symlink_to("film.mkv")
    found = listing(linked, symlinks=True)
    assert found.sidecars == {}
    assert found.reasons[b"real/film.mkv.yaml"] == "not a regular file"


# -- trouble ---------------------------------------------------------------------------------------------------------

SCAN_AS_NOBODY = """
import os, sys
from pathlib import Path
import test_scan
os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = test_scan.listing(Path(sys.argv[1]))
print(sorted(found.files), sorted(found.reasons.items()))
"""


@pytest.fixture
def open_tmp(tmp_path: Path) -> Iterator[Path]:
    """A folder that any user may reach, for root reads everything."""
    shut = (folder for folder in (tmp_path, *tmp_path.parents) if not folder.stat().st_mode & 0o001)
    modes = {folder: folder.stat().st_mode for folder in shut}
    for folder in modes:
        folder.chmod(0o755)
    yield tmp_path
    for folder, mode in modes.items():
        folder.chmod(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="steps down from root to another user")
def test_an_unreadable_folder_is_a_reason_and_the_rest_is_found(open_tmp: Path) -> None:
    inbox = open_tmp / "in"
    put(inbox / "a.mkv")
    put(inbox / "closed/b.mkv")
    put(inbox / "names/c.mkv")
    inbox.chmod(0o755)
    (inbox / "closed").chmod(0)
    (inbox / "names").chmod(0o744)  # may be listed, but not entered
    command = [sys.executable, "-c", SCAN_AS_NOBODY, str(inbox)]
    tests = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, env=tests)
    expected = [(b"closed/", "unreadable: Permission denied"), (b"names/c.mkv", "unreadable: Permission denied")]
    assert done.stdout.strip() == f"{[b'a.mkv']} {expected}", done.stderr


def test_an_inbox_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        listing(tmp_path / "no")


def test_files_may_vanish_and_folders_turn_into_links_during_the_walk(tmp_path: Path) -> None:
    for number in range(30):
        put(tmp_path / f"{number}/a.mkv")
    put(tmp_path / "kept.mkv")
    put(tmp_path.parent / f"{tmp_path.name}-out/stolen.mkv")
    changer = (
        "import os, sys; from pathlib import Path\n"
        "root = Path(sys.argv[1]); print('go', flush=True)\n"
        "while (root / 'kept.mkv').exists():\n"
        "    for n in range(30):\n"
        "        folder, aside = root / str(n), root / f'{n}x'\n"
        "        folder.rename(aside); folder.symlink_to(sys.argv[2]); folder.unlink(); aside.rename(folder)\n"
    )
    out = f"{tmp_path}-out"
    with subprocess.Popen([sys.executable, "-c", changer, tmp_path, out], stdout=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "go\n"
        try:
            for _ in range(200):  # walks
                found = listing(tmp_path)
                assert b"kept.mkv" in found.files
                assert not any(b"stolen" in path for path in found.files)
        finally:
            (tmp_path / "kept.mkv").unlink()
    assert process.returncode == 0
    assert len(listing(tmp_path).files) == 30


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    put(tmp_path / "a/b/c/d.mkv")
    before = len(list(Path("/proc/self/fd").iterdir()))
    listing(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_twenty_thousand_files_are_found_in_little_memory(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in range(1000):
            os.close(os.open(folder / f"{file}.mkv", os.O_CREAT | os.O_WRONLY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = listing(tmp_path)
    assert (len(found.files), found.folders) == (20_000, 21)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024  # KiB


# -- agreement with watchdog's own polling ---------------------------------------------------------------------------


def polled(emitter: PollingEmitter, events: EventQueue) -> tuple[set[str], set[str], set[str]]:
    """Return the paths that watchdog's polling found made, changed and gone; a rename is both."""
    made: set[str] = set()
    changed: set[str] = set()
    gone: set[str] = set()
    emitter.queue_events(0)
    while True:
        try:
            event, _ = events.get_nowait()
        except Empty:
            return made, changed, gone
        if isinstance(event, FileCreatedEvent):
            made.add(str(event.src_path))
        elif isinstance(event, FileModifiedEvent):
            changed.add(str(event.src_path))
        elif isinstance(event, FileDeletedEvent):
            gone.add(str(event.src_path))
        elif isinstance(event, FileMovedEvent):
            gone.add(str(event.src_path))
            made.add(str(event.dest_path))


def disturb(dice: random.Random, inbox: Path, turn: int) -> None:
    files = sorted(path for path in inbox.rglob("*") if path.is_file())
    for number in range(12):
        put(inbox / f"{dice.randrange(4)}/{dice.randrange(3)}/{turn}-{number}.mkv", b"x" * dice.randrange(1, 99))
    for path in dice.sample(files, min(len(files), 9)):
        action = dice.choice(("write", "remove", "rename"))
        if action == "write":
            path.write_bytes(path.read_bytes() + b"more")
        elif action == "remove":
            path.unlink()
        else:
            path.rename(path.with_name(f"renamed-{turn}-{path.name}"))


@pytest.mark.parametrize("seed", range(5))
def test_two_scans_tell_the_same_changes_as_watchdogs_polling(tmp_path: Path, seed: int) -> None:
    dice, events = random.Random(seed), EventQueue()
    disturb(dice, tmp_path, 0)
    emitter = PollingEmitter(events, ObservedWatch(os.fspath(tmp_path), recursive=True))
    emitter.on_thread_start()
    before = listing(tmp_path).files
    for turn in range(1, 5):
        disturb(dice, tmp_path, turn)
        after = listing(tmp_path).files
        made, changed, gone = polled(emitter, events)
        ours = {os.fspath(tmp_path / os.fsdecode(path)): path for path in {**before, **after}}
        assert made == {path for path, key in ours.items() if key not in before}
        assert gone == {path for path, key in ours.items() if key not in after}
        both = {path: key for path, key in ours.items() if key in before and key in after}
        assert changed == {path for path, key in both.items() if before[key] != after[key]}
        before = after
