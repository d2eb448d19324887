import os
from pathlib import Path
from typing import Any

import pytest

from darkroom import pipelines
from darkroom.daemon import marker
from darkroom.daemon.config import Config, load
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.setup import adopt, init, look_at, survey, troubles
from darkroom.pipelines.errors import Unavailable

NFS = b"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / %s rw - nfs4 nas:/films rw\n"


def house(root: Path, **folder: Any) -> Config:
    path = init(root)
    config = load(path)
    entry = config.folders[0].model_copy(update=folder)
    return config.model_copy(update={"folders": [entry]})


# -- init -------------------------------------------------------------------------------------------------------------


def test_init_makes_an_inbox_and_an_outbox_for_each_pipeline_and_a_configuration_that_loads(tmp_path: Path) -> None:
    root = tmp_path / "new/house"
    config = load(init(root))
    assert [folder.name for folder in config.folders] == list(pipelines.KINDS)
    for folder in config.folders:
        assert folder.inbox == root / "inbox" / folder.name and folder.inbox.is_dir()
        assert folder.outbox == root / "outbox" / folder.name and folder.outbox.is_dir()
    assert config.state == root / "state" and config.state.is_dir()


def test_init_never_overwrites_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(FileExistsError):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "mine"


def test_init_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        init(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


# -- what a configuration comes to ------------------------------------------------------------------------------------


def test_a_survey_tells_mode_times_and_all_options(tmp_path: Path) -> None:
    config = house(tmp_path, options={"scale": 4})
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"1 0 0:1 / / rw - ext4 /dev/vda rw\n")
    found = survey(config, config.folders[0], {}, mountinfo=mounts)
    assert (found.mode, found.settle_s, found.scan_every_s) == ("events", 2, 60)
    assert found.options == pipelines.options_of("upscale").model_validate({"scale": 4}).model_dump()
    assert found.inbox.exists and found.outbox.exists and not found.inbox.trouble and not found.outbox.trouble


def test_a_survey_of_a_share_polls_and_waits_longer(tmp_path: Path) -> None:
    config = house(tmp_path)
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(NFS % os.fsencode(config.folders[0].inbox))
    found = survey(config, config.folders[0], {}, mountinfo=mounts)
    assert (found.mode, found.settle_s, found.scan_every_s) == ("poll", 10, 15)
    assert (found.inbox.mount.kind, found.inbox.mount.local) == ("nfs4", False)
    assert found.outbox.mount.kind == "ext4"


def test_a_survey_touches_nothing(tmp_path: Path) -> None:
    config = house(tmp_path, inbox=tmp_path / "later/in")
    before = sorted(tmp_path.rglob("*"))
    found = survey(config, config.folders[0], {})
    assert not found.inbox.exists and not found.inbox.trouble
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_known_and_is_another_is_in_trouble_until_it_is_adopted(tmp_path: Path) -> None:
    config = house(tmp_path)
    folder = config.folders[0]
    adopt(config, folder)
    kept = marker.load_identities(config.state / IDENTITIES)
    assert troubles(config, kept) == []
    folder.inbox.rename(tmp_path / "unmounted")
    folder.inbox.mkdir()
    assert "marker .darkroom-inbox is missing" in survey(config, folder, kept).inbox.trouble
    assert [line.split(":")[0] for line in troubles(config, kept)] == [str(folder.inbox)]
    adopt(config, folder)
    again = marker.load_identities(config.state / IDENTITIES)
    assert troubles(config, again) == []
    assert again[str(folder.outbox)] == kept[str(folder.outbox)]
    assert again[str(folder.inbox)] != kept[str(folder.inbox)]


def test_adopting_one_folder_leaves_the_identities_of_others(tmp_path: Path) -> None:
    config = house(tmp_path)
    marker.save_identities(config.state / IDENTITIES, {"/other": "abc"})
    adopt(config, config.folders[0])
    assert marker.load_identities(config.state / IDENTITIES)["/other"] == "abc"


def test_what_is_no_folder_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert look_at(tmp_path / "file", marker.INBOX, {}, "films").trouble.endswith("is no folder; name another")
    config = house(tmp_path / "house", inbox=tmp_path / "file")
    with pytest.raises(Unavailable):
        adopt(config, config.folders[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_outbox_that_may_not_be_written_is_in_trouble_and_an_inbox_is_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        assert "cannot be written" in look_at(tmp_path, marker.OUTBOX, {}, "films").trouble
        assert "cannot be made" in look_at(tmp_path / "new", marker.INBOX, {}, "films").trouble
        assert not look_at(tmp_path, marker.INBOX, {}, "films").trouble
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_is_a_trouble(tmp_path: Path) -> None:
    config = house(tmp_path)
    full = config.disk.model_copy(update={"work_reserve": 2**62, "outbox_reserve": 2**62})
    assert len(troubles(config.model_copy(update={"disk": full}), {})) == 2
