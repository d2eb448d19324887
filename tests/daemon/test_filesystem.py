import ctypes
import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.daemon import filesystem
from darkroom.daemon.filesystem import (
    UNKNOWN,
    Mount,
    fresh_stat,
    held_by_writer,
    mount_at,
    mounts_of,
    opened,
    opened_folder,
    parse_mounts,
    stat_without_statx,
    take_lease,
    without_links,
)

MOUNTS = parse_mounts(
    b"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    b"27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"
    b"31 27 0:30 / /srv/in rw - xfs /dev/vdb rw\n"
    b"32 31 0:31 / /srv/in/nas\\040share rw,relatime shared:5 - nfs4 nas:/films rw,vers=4.2\n"
    b"33 27 0:32 / /srv/in2 rw - fuse.sshfs me@host: rw\n"
)


def test_mounts_are_read_with_their_escapes_and_optional_fields() -> None:
    assert [(mount.path, mount.kind, mount.source) for mount in MOUNTS[1:4]] == [
        (b"/", "ext4", "/dev/vda"),
        (b"/srv/in", "xfs", "/dev/vdb"),
        (b"/srv/in/nas share", "nfs4", "nas:/films"),
    ]


def test_a_path_lies_on_the_deepest_mount() -> None:
    assert mount_at(b"/srv/in/a", MOUNTS).kind == "xfs"
    assert mount_at(b"/srv/in/nas share/b", MOUNTS).kind == "nfs4"
    assert mount_at(b"/srv/in2", MOUNTS).kind == "fuse.sshfs"
    assert mount_at(b"/srv/in3", MOUNTS).kind == "ext4"


def test_of_two_mounts_on_one_place_the_last_counts() -> None:
    text = b"1 0 0:1 / / rw - rootfs none rw\n2 1 0:2 / / rw - ext4 /dev/vda rw\n"
    assert mount_at(b"/a", parse_mounts(text)).kind == "ext4"


def test_without_a_table_the_file_system_is_unknown_and_not_trusted() -> None:
    assert mount_at(b"/a", ()) == UNKNOWN
    assert not UNKNOWN.local


def test_mounts_of_a_folder_are_its_own_and_those_below() -> None:
    assert [mount.kind for mount in mounts_of(Path("/srv/in"), MOUNTS)] == ["xfs", "nfs4"]
    assert [mount.kind for mount in mounts_of(Path("/home"), MOUNTS)] == ["ext4"]


def test_network_and_fuse_are_not_local() -> None:
    assert [mount.local for mount in MOUNTS[1:]] == [True, True, False, False]


def test_the_table_of_this_machine_can_be_read() -> None:
    assert mount_at(b"/proc/self", parse_mounts(filesystem.MOUNTINFO.read_bytes())).kind == "proc"


# -- paths -----------------------------------------------------------------------------------------------------------


def here(tmp_path: Path, share: str = "") -> tuple[Mount, ...]:
    """Let `tmp_path` be on a local disk, and `share` in it on another machine."""
    text = f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path}/{share} rw - nfs4 nas:/ rw\n"
    return parse_mounts(text.encode())


@pytest.mark.parametrize(
    "way", ["a/link/b", "a/../a/link/./b", "absolute/b", "a/link/../deep/b", "a/up/deep/b", "no/b"]
)
def test_links_and_dots_are_resolved_as_the_kernel_does(tmp_path: Path, way: str) -> None:
    (tmp_path / "a/deep").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to("deep")
    (tmp_path / "a/up").symlink_to("../a")
    (tmp_path / "absolute").symlink_to(tmp_path / "a/link")
    path = tmp_path / way
    assert without_links(path, here(tmp_path, "share")) == Path(os.path.realpath(path))


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert without_links(tmp_path / "a/c", here(tmp_path, "share")) in (tmp_path / "a/c", tmp_path / "b/c")


def test_a_path_on_a_share_is_the_same_whether_it_answers_or_not(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share/link").symlink_to("films")
    (tmp_path / "way").symlink_to("share")
    assert without_links(tmp_path / "way/link/../in", here(tmp_path, "share")) == tmp_path / "share/in"
    assert without_links(tmp_path / "way/link", here(tmp_path, "share")) == tmp_path / "share/link", "nobody asked it"
    assert without_links(tmp_path / "way/link", here(tmp_path, "elsewhere")) == tmp_path / "share/films"


def test_links_are_resolved_on_a_root_of_whatever_kind(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("films")
    assert without_links(tmp_path / "link", parse_mounts(b"1 0 0:1 / / rw - 9p host rw\n")) == tmp_path / "films"


# -- files -----------------------------------------------------------------------------------------------------------


def test_fresh_attributes_are_those_of_lstat(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    path = tmp_path / "d/a"
    path.write_bytes(b"x" * 12345)
    os.utime(path, ns=(5, 1_700_000_000_123_456_789))
    with opened_folder(tmp_path) as root:
        found = fresh_stat(b"d/a", root, "ext4")
        older = [stat_without_statx(b"d/a", root, kind) for kind in ("ext4", "cifs", "nfs4")]
    seen = path.lstat()
    assert (found.mode, found.size_bytes, found.inode) == (seen.st_mode, 12345, seen.st_ino)
    assert (found.mtime_ns, found.ctime_ns) == (1_700_000_000_123_456_789, seen.st_ctime_ns)
    assert older == [found] * 3
    assert found.regular


def test_times_before_1970_and_sparse_terabytes_are_read_right(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(2**40)
    os.utime(path, ns=(0, -1_500_000_000))
    with opened_folder(tmp_path) as root:
        found = fresh_stat(b"a", root, "ext4")
    assert (found.size_bytes, found.mtime_ns) == (2**40, path.lstat().st_mtime_ns)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    with opened_folder(tmp_path) as root:
        assert not fresh_stat(b"link", root, "ext4").regular


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with opened_folder(tmp_path) as root, pytest.raises(FileNotFoundError):
        fresh_stat(b"no", root, "ext4")


@pytest.mark.parametrize("missing", ["libc", "kernel"])
def test_without_statx_the_older_calls_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def enosys(*_: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(filesystem, "_STATX", None if missing == "libc" else enosys)
    (tmp_path / "a").write_bytes(b"abc")
    with opened_folder(tmp_path) as root:
        assert fresh_stat(b"a", root, "nfs4").size_bytes == 3


def test_a_file_is_opened_below_its_folder_only(tmp_path: Path) -> None:
    (tmp_path / "in/d").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_bytes(b"secret")
    (tmp_path / "in/d/a").write_bytes(b"mine")
    (tmp_path / "in/escape").symlink_to(tmp_path / "out")
    (tmp_path / "in/link").symlink_to(tmp_path / "out/a")
    with opened_folder(tmp_path / "in") as root:
        with opened(b"d/a", root) as handle:
            assert os.read(handle, 9) == b"mine"
        for path in (b"escape/a", b"link"):
            with pytest.raises(OSError), opened(path, root):
                pytest.fail(f"{path!r} was opened")


def test_opening_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/a").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with opened_folder(tmp_path) as root:
        with opened(b"d/e/a", root):
            pass
        for path in (b"d/no/a", b"d/e/no"):
            with pytest.raises(FileNotFoundError), opened(path, root):
                pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_fifo_does_not_hold_up_the_look(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with opened_folder(tmp_path) as root, opened(b"a", root) as handle:
        assert handle > 0


def test_a_lease_is_refused_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    script = f"f = open({str(path)!r}, 'ab'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with opened_folder(tmp_path) as root, opened(b"a", root) as handle:
            assert held_by_writer(handle)
            writer.communicate("\n")
            assert not held_by_writer(handle)


def test_a_lease_is_refused_while_written_pages_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 4096)
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4096)
    with mapped, opened_folder(tmp_path) as root, opened(b"a", root) as handle:
        assert held_by_writer(handle)


def test_readers_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with path.open("rb"), opened_folder(tmp_path) as root, opened(b"a", root) as handle:
        assert not held_by_writer(handle)


def test_a_writer_that_comes_during_the_lease_does_not_end_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    script = (
        "import os, sys; from darkroom.daemon.filesystem import take_lease\n"
        "take_lease(os.open(sys.argv[1], os.O_RDONLY)); print('leased', flush=True); input(); print('alive')"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "leased\n"
        with pytest.raises(BlockingIOError):
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # breaks the lease: the kernel signals its holder
        assert holder.communicate("\n")[0] == "alive\n"
    assert holder.returncode == 0


def test_a_lease_that_the_kernel_cannot_give_counts_as_no_writer() -> None:
    reader, writer = os.pipe()  # no regular file: EINVAL
    try:
        with pytest.raises(OSError):
            take_lease(reader)
        assert not held_by_writer(reader)
    finally:
        os.close(reader)
        os.close(writer)


LEASE_AS_NOBODY = """
import os, sys
from darkroom.daemon.filesystem import held_by_writer, take_lease
handle = os.open(sys.argv[1], os.O_RDONLY)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    take_lease(handle)
except PermissionError:
    print("refused", held_by_writer(handle))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can step down to another user")
def test_another_users_file_counts_as_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb"):
        done = subprocess.run([sys.executable, "-c", LEASE_AS_NOBODY, path], capture_output=True, text=True)
    assert done.stdout == "refused False\n", done.stderr
