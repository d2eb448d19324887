from pathlib import Path

import pytest
from tables import bench

running = bench("running")


def test_files_wait_in_a_daemon_that_is_held(tmp_path: Path) -> None:
    with running.Running(tmp_path / "house", held=True, settle_s=0.2) as daemon:
        for number in range(3):
            (daemon.inbox / f"{number}.mp4").write_bytes(f"film {number}".encode())
        assert len(daemon.wait_for(3, waiting=True)) == 3
        assert daemon.jobs()[0].state == "queued"
        with pytest.raises(RuntimeError, match="no worker"):
            daemon.worker()


def test_a_film_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film at all")
    with running.Running(tmp_path / "house", settle_s=0.2) as daemon:
        daemon.drop(broken)
        with pytest.raises(RuntimeError, match=r"broken.mp4: quarantined: "):
            daemon.done(1)


def test_a_daemon_that_cannot_start_is_told_at_once(tmp_path: Path) -> None:
    house = running.Running(tmp_path / "house")
    (house.root / "config.yaml").write_text("folders: []")
    with house as daemon, pytest.raises(RuntimeError, match="the daemon ended"):
        daemon.wait_for(1, waiting=True)
