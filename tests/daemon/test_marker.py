import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.daemon.marker import (
    INBOX,
    OUTBOX,
    adopt,
    identify,
    load_identities,
    mismatch,
    save_identities,
    why_offline,
)
from darkroom.pipelines.errors import Unavailable


def test_a_first_start_makes_the_folder_and_its_marker(tmp_path: Path) -> None:
    identity = identify(tmp_path / "a/in", INBOX, {})
    assert len(identity) == 32
    assert (tmp_path / "a/in" / INBOX).read_text().splitlines()[0] == identity
    assert why_offline(tmp_path / "a/in", INBOX, identity, "films") == ""


def test_a_folder_that_has_a_marker_keeps_it(tmp_path: Path) -> None:
    assert adopt(tmp_path, INBOX) == adopt(tmp_path, INBOX)


def test_two_folders_have_two_identities(tmp_path: Path) -> None:
    assert adopt(tmp_path / "a", INBOX) != adopt(tmp_path / "b", INBOX)
    assert adopt(tmp_path / "a", INBOX) != adopt(tmp_path / "a", OUTBOX)


def test_a_remembered_folder_is_not_adopted_again(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    assert identify(folder, INBOX, {str(folder): "1234"}) == "1234"
    assert list(folder.iterdir()) == []


def test_a_missing_marker_means_offline_with_the_remedy(tmp_path: Path) -> None:
    identity = adopt(tmp_path, INBOX)
    (tmp_path / INBOX).unlink()
    assert why_offline(tmp_path, INBOX, identity, "films") == (
        f"{tmp_path}: marker .darkroom-inbox is missing: is the share mounted?"
        " `darkroom check --adopt films` accepts the folder as it is"
    )


def test_the_marker_of_another_folder_means_offline(tmp_path: Path) -> None:
    identity = adopt(tmp_path / "a", INBOX)
    adopt(tmp_path / "b", INBOX)
    (tmp_path / "b" / INBOX).replace(tmp_path / "a" / INBOX)
    assert "is another folder's" in why_offline(tmp_path / "a", INBOX, identity, "films")


def test_a_missing_folder_or_a_file_in_its_place_means_offline(tmp_path: Path) -> None:
    assert "No such file or directory" in why_offline(tmp_path / "no", INBOX, "1", "films")
    (tmp_path / "file").touch()
    assert "Not a directory" in why_offline(tmp_path / "file", INBOX, "1", "films")


def test_a_marker_that_is_a_link_is_an_error(tmp_path: Path) -> None:
    identity = adopt(tmp_path / "a", INBOX)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / INBOX).symlink_to(tmp_path / "a" / INBOX)
    assert why_offline(tmp_path / "b", INBOX, identity, "films")


def test_a_marker_of_rubbish_is_another_folders(tmp_path: Path) -> None:
    (tmp_path / INBOX).write_bytes(b"\xff\x00" * 500)
    assert "is another folder's" in why_offline(tmp_path, INBOX, "1234", "films")


def test_a_read_only_folder_is_known_by_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_root: int, name: bytes) -> None:
        raise OSError(30, "Read-only file system", os.fsdecode(name))

    monkeypatch.setattr("darkroom.daemon.marker.discard", refuse)  # root may write even where it should not
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path} ro - nfs4 nas:/films ro\n")
    identity = adopt(tmp_path, INBOX, mountinfo=mountinfo)
    assert identity == "mount nfs4 nas:/films"
    with pytest.raises(Unavailable, match=rf"{OUTBOX}: Read-only file system; make the folder writable"):
        adopt(tmp_path, OUTBOX, mountinfo=mountinfo)  # nothing could be published there, today or ever

    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        assert mismatch(handle, tmp_path, INBOX, identity, "films", mountinfo=mountinfo) == ""
        mountinfo.write_text("1 0 0:1 / / rw - ext4 /dev/vda rw\n")  # unmounted
        offline = mismatch(handle, tmp_path, INBOX, identity, "films", mountinfo=mountinfo)
    finally:
        os.close(handle)
    assert offline.startswith(f"{tmp_path}: is on mount ext4 /dev/vda, was on mount nfs4 nas:/films")


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="make the folder"):
        adopt(tmp_path / "file/in", INBOX)


def test_identities_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "inboxes.json"
    assert load_identities(path) == {}
    save_identities(path, {"/srv/in": "12", "/srv/\udcff": "34"})
    assert load_identities(path) == {"/srv/in": "12", "/srv/\udcff": "34"}


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_damaged_identities_stop_everything_rather_than_accept_any_folder(tmp_path: Path, text: str) -> None:
    path = tmp_path / "inboxes.json"
    path.write_text(text)
    with pytest.raises(Unavailable, match="see that all shares are mounted"):
        load_identities(path)


def test_two_threads_that_adopt_one_folder_agree_on_its_identity(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"{number}"
        with ThreadPoolExecutor(8) as pool:
            identities = set(pool.map(lambda _, folder=folder: adopt(folder, OUTBOX), range(8)))
        assert len(identities) == 1
        assert [path.name for path in folder.iterdir()] == [OUTBOX]


def test_what_a_crash_left_of_a_marker_goes_with_the_next_start(tmp_path: Path) -> None:
    draft = tmp_path / f"{INBOX}.draft"
    draft.write_text("cut o")
    identity = adopt(tmp_path, INBOX)
    assert len(identity) == 32 and not draft.exists()
    draft.hardlink_to(tmp_path / INBOX)  # linked, and not yet unlinked
    assert adopt(tmp_path, INBOX) == identity and not draft.exists()
