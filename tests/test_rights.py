"""A daemon that may not read, or not write: it says so and goes on; and what it writes has the rights it was told."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, wait_until
from studio import PROGRAM

from darkroom.daemon import live
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.lookout import NOT_LOOKED

OTHER, SHARE = 4242, 4343  # a user, and a group that root is not in
# Root without root's rights over the files of others: as bound by their modes as anybody, and its interpreter may lie
# in root's home.
CAPABILITIES = ",".join(f"-{name}" for name in ("dac_override", "dac_read_search", "fowner", "fsetid", "chown"))
BOUND = ("setpriv", "--bounding-set", CAPABILITIES)
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="giving up root's rights takes root and setpriv"
)


def furnish(root: Path, umask: str = "0022", **folder: object) -> House:
    house = House(root, None, **{"name": "art", "pipeline": "paint", "options": {"prompt": "x"}} | folder)
    with house.settings() as settings:
        settings |= {"umask": umask, "watch": {"scan_local": 1, "scan_network": 1}}
    house.program = PROGRAM
    for name in ("outbox", "state"):
        (root / name).mkdir()
    return house


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[House]:
    """A house whose daemon may do with files of others what anybody may."""
    house = furnish(tmp_path / "house")
    house.program = (*BOUND, *PROGRAM)
    yield house
    house.clear()


def put(house: House, name: str, mode: int = 0o644) -> Path:
    path = house.inbox / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"image {name}")
    path.chmod(mode)
    os.chown(path, OTHER, OTHER)
    return path


def states(house: House) -> dict[str, str]:
    with Journal(house.state / FILE, readonly=True) as journal:
        return {job.name: job.state for job in journal.jobs()}


def waiting(house: House) -> dict[str, str]:
    now = live.read(house.state)
    return dict(now.folders["art"].waiting) if now else {}


@as_root
def test_what_may_not_be_read_waits_with_its_reason_and_is_taken_once_it_may(bound: House) -> None:
    put(bound, "open.jpg")
    shut = put(bound, "shut.jpg", 0)
    for name, mode in (("listed", 0o744), ("closed", 0)):  # the first may be listed, and not entered
        put(bound, f"{name}/inner.jpg").parent.chmod(mode)
        os.chown(bound.inbox / name, OTHER, OTHER)
    bound.start()
    bound.see("done: published as open.out")
    denied = "unreadable: Permission denied"
    wait_until(lambda: waiting(bound) == {"shut.jpg": denied, "listed/inner.jpg": denied, "closed/": denied})
    shut.chmod(0o644)
    for name in ("listed", "closed"):
        (bound.inbox / name).chmod(0o755)
    wait_until(
        lambda: states(bound) == dict.fromkeys(["open.jpg", "shut.jpg", "listed/inner.jpg", "closed/inner.jpg"], "done")
    )
    assert bound.stop() == 0


def offline(house: House) -> str:
    now = live.read(house.state)
    return now.folders["art"].offline if now and now.folders["art"].offline != NOT_LOOKED else ""


@as_root
@pytest.mark.parametrize("known", [True, False])
def test_an_outbox_that_may_not_be_written_is_told_and_no_work_begins_until_it_may(bound: House, known: bool) -> None:
    if known:
        assert bound.drain() == 0
    put(bound, "a.jpg")
    os.chown(bound.outbox, OTHER, OTHER)
    bound.start()
    wait_until(lambda: offline(bound) != "")
    assert str(bound.outbox) in offline(bound) and "writ" in offline(bound)
    assert "a.jpg" not in "".join(line for line in bound.lines if "started" in line), "no work before it can be kept"
    os.chown(bound.outbox, 0, 0)
    bound.see("done: published as a.out")
    assert bound.stop() == 0


@as_root
@pytest.mark.parametrize("place", ["state", "config"])
def test_a_start_without_rights_ends_with_one_line_that_says_where(bound: House, place: str) -> None:
    if place == "state":
        os.chown(bound.state, OTHER, OTHER)
    else:
        bound.config.chmod(0)
        os.chown(bound.config, OTHER, OTHER)
    assert bound.drain() == {"state": 69, "config": 78}[place]
    assert len(bound.lines) == 1 and "Permission denied" in bound.lines[0] and str(bound.root) in bound.lines[0]


@as_root
@pytest.mark.parametrize("member", [True, False])
def test_results_belong_to_the_group_of_the_share_and_without_membership_jobs_still_get_done(
    bound: House, member: bool
) -> None:
    put(bound, "a.jpg")
    if member:
        bound.program = ("setpriv", "--groups", str(SHARE), *bound.program)
    os.chown(bound.outbox, OTHER if member else 0, SHARE)
    bound.outbox.chmod(0o2775)
    assert bound.drain() == 0
    assert (bound.outbox / "a.out").stat().st_gid == SHARE


@pytest.mark.parametrize("umask", ["0077", "0002"])
def test_nothing_that_is_written_has_more_rights_than_the_umask_leaves(tmp_path: Path, umask: str) -> None:
    house = furnish(tmp_path / "house", umask, originals="move")
    before = {path for path in house.root.rglob("*")}
    put(house, "deep/a.jpg", 0o600)
    before |= {path for path in house.root.rglob("*")}
    assert house.drain() == 0
    modes = {
        path: path.stat().st_mode for path in house.root.rglob("*") if path not in before and not path.is_symlink()
    }
    assert {"journal.db", "lock", "a.out", "a.out.json", ".darkroom-outbox"} <= {path.name for path in modes}
    original = house.root / "originals/art/deep/a.jpg"
    assert original in modes
    for path, mode in modes.items():
        assert not mode & int(umask, 8), f"{path}: {stat.filemode(mode)}"
        assert not mode & 0o111 or stat.S_ISDIR(mode)
