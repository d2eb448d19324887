"""Inbox and outbox on shares that are unmounted, swapped, dead or stopped: nothing is lost, nothing is made up."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import wait_until
from shares import Share, Yard, needs_bindfs

from darkroom.daemon.marker import INBOX, OUTBOX, adopt

pytestmark = needs_bindfs

PAINTED = b"a cat\n" * 3
Mount = Callable[[str, Path], Share]


@pytest.fixture
def shares(tmp_path: Path) -> Iterator[list[Share]]:
    mounted: list[Share] = []
    yield mounted
    for share in reversed(mounted):
        share.remove()


@pytest.fixture
def share(shares: list[Share], tmp_path: Path) -> Mount:
    def mount(name: str, at: Path) -> Share:
        made = Share(tmp_path / "server" / name, at)
        shares.append(made)
        made.mount()
        return made

    return mount


@pytest.fixture
def begin(shares: list[Share], tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    """Furnish yards, and end their daemons before the shares go."""
    yards: list[Yard] = []

    def furnish(**folder: object) -> Yard:
        options = {"prompt": "a cat", "strokes": 3, "after": str(tmp_path / "go")}
        yards.append(Yard(tmp_path / "yard", {"retry_delays": ["1 s"]}, **{"options": options} | folder))
        return yards[-1]

    yield furnish
    for share in shares:
        share.answer()
    for yard in yards:
        yard.clear()


@pytest.fixture
def go(tmp_path: Path) -> Callable[[], None]:
    """Let the jobs that wait within their first stroke go on."""
    return (tmp_path / "go").touch


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def another(name: str, marker: str, tmp_path: Path) -> Path:
    """Make the folder of a server that is known to another Darkroom."""
    folder = tmp_path / "server" / name
    adopt(folder, marker)
    return folder


# -- an inbox --------------------------------------------------------------------------------------------------------


def test_what_is_written_on_the_server_is_found_without_events_and_the_status_says_how(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None]
) -> None:
    yard = begin()
    films = share("films", yard.inbox)
    go()
    yard.start()
    yard.see("art: jobs may start")
    (films.server / "season").mkdir()
    (films.server / "season/a.jpg").write_text("written on the server")
    yard.see("done: published as season/a.out")
    assert (yard.status("art")["mode"], yard.status("desk")["mode"]) == ("poll", "events")
    assert yard.stop() == 0


def test_a_job_whose_source_is_staged_goes_on_though_its_share_is_gone(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None]
) -> None:
    yard = begin()
    films = share("films", yard.inbox)
    (films.server / "a.jpg").write_text("a")
    yard.start()
    yard.see("segments to do")
    films.unmount()
    yard.see("art: no job starts")
    wait_until(lambda: "is the share mounted?" in yard.status("art")["offline"])
    go()
    yard.see("done: published as a.out")
    (films.server / "b.jpg").write_text("b")
    films.mount()
    yard.see("done: published as b.out")
    assert yard.stop() == 0
    assert yard.ends() == {"a.jpg": ["done"], "b.jpg": ["done"]}
    assert not any("stopped" in line for line in yard.lines)


@pytest.mark.parametrize("fault", [Share.unmount, Share.die], ids=["unmounted", "its server killed"])
def test_a_job_that_reads_from_its_share_waits_for_it_and_goes_on_where_it_was(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None], fault: Callable[[Share], None]
) -> None:
    yard = begin(stage="never")
    films = share("films", yard.inbox)
    (films.server / "a.jpg").write_text("a")
    yard.start()
    yard.see("segments to do")
    fault(films)
    go()
    yard.see("a.jpg queued: ")
    yard.see("art: no job starts")
    assert [job.failures for job in yard.jobs()] == [0], "no try is counted"
    films.remove()
    films.mount()
    yard.see("done: published as a.out")
    assert yard.stop() == 0
    assert yard.results() == {"a.out": PAINTED} and yard.ends() == {"a.jpg": ["done"]}
    assert sum("segment 1 of 3 done" in line for line in yard.lines) == 1


def test_another_share_in_its_place_is_believed_nothing(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None], tmp_path: Path
) -> None:
    yard = begin(stage="never")
    films = share("films", yard.inbox)
    for name in ("a.jpg", "b.jpg"):
        (films.server / name).write_text(name)
    elsewhere = another("elsewhere", INBOX, tmp_path)
    for number in range(20):
        (elsewhere / f"{number}.jpg").write_text("not ours")
    (elsewhere / "a.jpg").write_text("another file of this name")
    yard.start()
    yard.see("segments to do")
    films.unmount()
    other = share("elsewhere", yard.inbox)
    yard.see("art: no job starts")
    wait_until(lambda: "is another folder's" in yard.status("art")["offline"])
    go()
    yard.see("a.jpg queued: ")
    assert yard.ends() == {"a.jpg": ["queued"], "b.jpg": ["queued"]}
    other.unmount()
    films.mount()
    yard.see("done: published as a.out")
    yard.see("done: published as b.out")
    assert yard.stop() == 0
    assert yard.ends() == {"a.jpg": ["done"], "b.jpg": ["done"]}
    assert sum("segment 1 of 3 done" in line for line in yard.lines) == 2


def test_a_start_without_the_share_makes_and_cancels_nothing(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None]
) -> None:
    yard = begin()
    films = share("films", yard.inbox)
    (films.server / "a.jpg").write_text("a")
    yard.start()
    yard.see("segments to do")
    yard.kill()
    films.unmount()
    go()
    for place in ("an empty mount point", "none"):
        if place == "none":
            yard.inbox.rmdir()
        mark = len(yard.lines)
        assert yard.drain() == 75
        assert any("art: no job starts" in line for line in yard.lines[mark:])
        assert not yard.inbox.exists() or everything_below(yard.inbox) == []
        assert yard.ends() == {"a.jpg": ["queued"]}
    films.mount()
    assert yard.drain() == 0
    assert yard.results() == {"a.out": PAINTED} and yard.ends() == {"a.jpg": ["done"]}


def test_a_server_that_hangs_holds_up_its_own_folder_only_and_no_stop(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None]
) -> None:
    yard = begin()
    films = share("films", yard.inbox)
    go()
    yard.start()
    yard.see("art: jobs may start")
    films.hang()
    yard.see("art: no job starts")
    (yard.desk / "a.jpg").write_text("a")
    yard.see("done: published as a.out")
    wait_until(lambda: "has not answered for" in yard.status("art")["offline"])  # and does not ask the server itself
    assert yard.stop() == 0
    yard.start()
    (yard.desk / "b.jpg").write_text("b")
    yard.see("done: published as b.out")
    (films.server / "c.jpg").write_text("c")
    films.answer()
    yard.see("done: published as c.out")
    assert yard.stop() == 0


# -- an outbox -------------------------------------------------------------------------------------------------------


def go_away(outbox: Share, share: Mount, tmp_path: Path) -> Share | None:
    outbox.unmount()
    return None


def be_swapped(outbox: Share, share: Mount, tmp_path: Path) -> Share | None:
    outbox.unmount()
    another("elsewhere", OUTBOX, tmp_path)
    return share("elsewhere", outbox.at)


def die(outbox: Share, share: Mount, tmp_path: Path) -> Share | None:
    outbox.die()
    return None


@pytest.mark.parametrize("fault", [go_away, be_swapped, die])
def test_what_cannot_be_published_waits_for_its_outbox_and_lands_nowhere_else(
    begin: Callable[..., Yard],
    share: Mount,
    go: Callable[[], None],
    tmp_path: Path,
    fault: Callable[[Share, Mount, Path], Share | None],
) -> None:
    yard = begin()
    media = share("media", yard.outbox)
    (yard.inbox / "a.jpg").write_text("a")
    yard.start()
    yard.see("segments to do")
    other = fault(media, share, tmp_path)
    go()
    yard.see("a.jpg queued: ")
    yard.see("art: no job starts")
    assert [job.failures for job in yard.jobs()] == [0], "no try is counted"
    if fault is not die:
        assert everything_below(yard.outbox) == ([OUTBOX] if other else [])
    if other:
        other.unmount()
    media.remove()
    media.mount()
    yard.see("done: published as a.out")
    assert yard.stop() == 0
    assert yard.results() == {"a.out": PAINTED} and yard.strays() == []
    assert sum("segment 1 of 3 done" in line for line in yard.lines) == 1


def test_an_outbox_that_hangs_while_a_result_is_published_frees_the_device_for_others(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None]
) -> None:
    yard = begin()
    media = share("media", yard.outbox)
    (yard.inbox / "a.jpg").write_text("a")
    yard.start()
    yard.see("segments to do")
    media.hang()
    go()
    yard.see("nor has the file server of its folder: ending it")
    (yard.desk / "b.jpg").write_text("b")
    yard.see("done: published as b.out")
    media.answer()
    yard.see("done: published as a.out")
    assert yard.stop() == 0
    wait_until(lambda: yard.results() == {"a.out": PAINTED})
    assert [(job.state, job.crashes) for job in yard.jobs()] == [("done", 0), ("done", 0)]


# -- mounts of other kinds -------------------------------------------------------------------------------------------


def test_a_share_within_an_inbox_that_goes_and_comes_back_has_each_file_made_once(
    begin: Callable[..., Yard], share: Mount, go: Callable[[], None]
) -> None:
    yard = begin()
    nas = share("nas", yard.inbox / "nas")
    for name in ("a.jpg", "b.jpg"):
        (nas.server / name).write_text(name)
    yard.start()
    yard.see("segments to do")
    nas.unmount()
    yard.see("nas/b.jpg cancelled")  # it has no marker of its own: its files only seem to be gone
    go()
    yard.see("done: published as nas/a.out")
    nas.mount()
    yard.see("done: published as nas/b.out")
    assert yard.stop() == 0
    assert yard.ends() == {"nas/a.jpg": ["done"], "nas/b.jpg": ["cancelled", "done"]}


def test_a_disk_of_this_machine_that_was_away_is_watched_again(
    begin: Callable[..., Yard], go: Callable[[], None], tmp_path: Path
) -> None:
    yard = begin()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(2 * 2**20))
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    disk = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = disk.stdout.strip()
    try:
        subprocess.run(["mount", device, yard.inbox], check=True)
        go()
        yard.start()
        yard.see("art: jobs may start")
        wait_until(lambda: subprocess.run(["umount", yard.inbox], capture_output=True, check=False).returncode == 0)
        yard.see("art: no job starts")
        mark = len(yard.lines)
        subprocess.run(["mount", device, yard.inbox], check=True)
        yard.see("art: jobs may start", mark)
        (yard.inbox / "a.jpg").write_text("a")
        yard.see("done: published as a.out")
        assert (yard.status("art")["mode"], yard.notes()) == ("events", [])
        assert yard.stop() == 0
    finally:
        subprocess.run(["umount", "--lazy", yard.inbox], check=False)
        subprocess.run(["losetup", "--detach", device], check=True)
