"""The whole daemon, as its user meets it: policies, wishes, reasons, and what it does when things go wrong."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import BUNNY, House, cut_clip, wait_until


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_clip(tmp_path_factory.mktemp("clip") / "film.mp4", 24)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes long enough to be interrupted."""
    return cut_clip(tmp_path_factory.mktemp("clip") / "film.mp4", 99, size=(320, 180))


SLOW: dict[str, object] = {"model": "photo", "backend": "torch", "segment_frames": 11}


def furnish(
    tmp_path: Path, clip: Path, *names: str, worker: dict[str, object] | None = None, **folder: object
) -> House:
    house = House(tmp_path / "house", worker, **folder)
    for name in names:
        (house.inbox / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, house.inbox / name)
    return house


@pytest.fixture(autouse=True)
def nobody_stays(tmp_path: Path) -> Iterator[None]:
    yield
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(tmp_path) in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except OSError:
            continue


def states(house: House) -> dict[str, str]:
    answer = house.command("jobs", "--json")
    assert answer.returncode == 0, answer.stderr
    return {job["name"]: job["state"] for job in json.loads(answer.stdout)}


def test_drain_ends_with_3_if_a_file_was_refused_and_the_others_are_done(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip, "good.mp4")
    (house.inbox / "text.mkv").write_text("this is no film")
    (house.inbox / "cut.mp4").write_bytes(clip.read_bytes()[:9000])
    (house.inbox / "empty.mp4").touch()
    assert house.drain() == 3
    assert list(house.results()) == ["good.mp4"]
    assert states(house) == {"good.mp4": "done", "text.mkv": "quarantined", "cut.mp4": "quarantined"}
    assert (house.inbox / "text.mkv").exists()
    assert house.drain() == 0, "a refused file is tried again only when it changes"
    shutil.copy(clip, house.inbox / "cut.mp4.part")
    os.truncate(house.inbox / "cut.mp4.part", clip.stat().st_size)
    with (house.inbox / "cut.mp4.part").open("ab") as file:
        file.write(b"\0\0\0\x08free")  # another content than good.mp4, and still a film
    (house.inbox / "cut.mp4.part").rename(house.inbox / "cut.mp4")
    assert house.drain() == 0
    assert sorted(house.results()) == ["cut.mp4", "good.mp4"]


def test_a_sidecar_overrides_the_options_of_its_file_and_a_faulty_one_is_named(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip, "a.mp4", "b.mp4")
    (house.inbox / "a.mp4.yaml").write_text("scale: 4\n")
    (house.inbox / "b.mp4.yaml").write_text("scal: 4\n")
    assert house.drain() == 3
    assert list(house.results()) == ["a.mp4"]
    assert any("b.mp4.yaml: scal: unknown key; did you mean scale?" in line for line in house.lines)
    report = json.loads(next(house.state.glob("reports/films/*.json")).read_text())
    assert (report["made"]["width"], report["made"]["height"]) == (384, 256)


def test_the_same_content_twice_is_done_once_and_says_so(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip, "a.mp4", "copy.mp4", "again.mp4")
    assert house.drain() == 0
    assert len(house.results()) == 1
    assert sorted(states(house).values()) == ["done", "skipped", "skipped"]
    assert any("duplicate of job" in line for line in house.lines)


@pytest.mark.parametrize("policy", ["keep", "move", "delete"])
def test_originals_are_treated_as_the_folder_says_after_publishing(tmp_path: Path, clip: Path, policy: str) -> None:
    house = furnish(tmp_path, clip, "season/e1.mp4", originals=policy)
    assert house.drain() == 0
    assert list(house.results()) == ["season/e1.mp4"]
    assert (house.inbox / "season/e1.mp4").exists() == (policy == "keep")
    moved = list((house.root / "originals").rglob("*.mp4"))
    assert [path.read_bytes() for path in moved] == ([clip.read_bytes()] if policy == "move" else [])
    assert house.drain() == 0
    assert len(house.results()) == 1


def test_a_taken_name_is_never_replaced_unasked(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip, "film.mp4")
    house.outbox.mkdir()
    (house.outbox / "film.mp4").write_text("mine")
    assert house.drain() == 0
    assert house.results()["film.mp4"] == b"mine"
    assert sorted(house.results()) == ["film (2).mp4", "film.mp4"]


def test_cancel_hold_release_and_retry_reach_a_running_daemon(tmp_path: Path) -> None:
    house = furnish(tmp_path, BUNNY, "film.mp4", options=SLOW)
    house.start()
    house.see("segment 1 of 12 done")
    with house.standing_still():
        assert house.command("cancel", "1").returncode == 0
    house.see("cancelled: asked to cancel")
    wait_until(lambda: house.strays() == [])
    assert house.command("hold", "--folder", "films", "--reason", "guests").returncode == 0
    assert house.command("retry", "1").returncode == 0
    house.see("no job starts: on hold: guests")
    assert states(house) == {"film.mp4": "queued"}
    mark = len(house.lines)
    assert house.command("release", "--folder", "films").returncode == 0
    house.see("started on", mark)
    house.see("segment 1 of 12 done", mark)
    with house.standing_still():
        assert house.command("hold", "1").returncode == 0
    house.see("held: asked to hold", mark)
    assert house.command("release", "1").returncode == 0
    house.see("of 12 segments to do", mark)
    assert house.stop() == 0


def test_a_file_that_changes_while_it_runs_is_developed_in_its_new_version_only(
    tmp_path: Path, long_clip: Path
) -> None:
    other = cut_clip(tmp_path / "other.mp4", 16, skip=30)
    house = furnish(tmp_path, long_clip, "film.mp4", options=SLOW)
    house.start()
    house.see("segment 1 of 9 done")
    shutil.copy(other, house.inbox / ".new")
    (house.inbox / ".new").rename(house.inbox / "film.mp4")
    house.see("1 of 1 segments to do")
    house.see("done: published as film.mp4")
    assert house.stop() == 0
    assert list(house.results()) == ["film.mp4"]
    assert len([line for line in house.lines if "cancelled" in line]) == 1


def test_an_inbox_whose_marker_is_gone_is_offline_and_nothing_is_concluded(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip, "a.mp4")
    assert house.drain() == 0
    house.inbox.rename(tmp_path / "unmounted")
    house.inbox.mkdir()
    shutil.copy(clip, house.inbox / "b.mp4")
    assert house.drain() == 75
    assert any("marker .darkroom-inbox is missing" in line for line in house.lines)
    assert list(states(house)) == ["a.mp4"]


def test_an_outbox_that_is_away_gets_nothing_and_the_job_waits_for_it(tmp_path: Path, long_clip: Path) -> None:
    house = furnish(
        tmp_path, long_clip, "a.mp4", worker={"retry_delays": [1]}, options={"model": "fast", "segment_frames": 33}
    )
    house.start()
    house.see("segment 1 of 3 done")
    house.outbox.rename(tmp_path / "unmounted")
    house.outbox.mkdir()
    house.see("films: no job starts")
    house.see("waits for it")  # the result is there and has nowhere to go
    assert list(house.outbox.iterdir()) == []
    house.outbox.rmdir()
    (tmp_path / "unmounted").rename(house.outbox)
    assert house.stop() == 0
    assert house.drain() == 0
    assert list(house.results()) == ["a.mp4"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_fails_no_job_and_is_waited_for(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    try:
        settings = {"outbox": str(tmp_path / "outbox"), "options": {"model": "fast", "segment_frames": 66}}
        house = House(disk / "house", worker={"retry_delays": ["1 s"], "attempts": 2}, **settings)
        shutil.copy(BUNNY, house.inbox / "film.mp4")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(7 * 2**20))
        house.start()
        for _ in range(3):
            house.see("waits for space", len(house.lines))
        ballast.unlink()
        house.see("done: published as film.mp4")
        assert house.stop() == 0
        assert house.strays() == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_bad_reload_keeps_the_old_configuration_and_a_good_one_is_taken(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip)
    house.start()
    house.see("jobs may start")
    good = house.config.read_text()
    house.config.write_text("folders: [{nam: x}]")
    os.kill(house.pid(), signal.SIGHUP)
    house.see("going on with the configuration as it was")
    house.config.write_text(good.replace("model: fast", "model: anime"))
    os.kill(house.pid(), signal.SIGHUP)
    house.see("is in force")
    shutil.copy(clip, house.inbox / "film.mp4")
    house.see("model anime")
    house.see("done: published as film.mp4")
    assert house.stop() == 0


def test_a_second_daemon_on_the_same_state_is_refused_with_one_line(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip)
    house.start()
    house.see("jobs may start")
    second = house.command("run", "--drain")
    assert second.returncode == 69
    assert "another darkroom is running" in second.stderr and "Traceback" not in second.stderr
    assert house.stop() == 0


def test_status_tells_what_runs_and_why_files_wait_with_the_daemon_up_and_down(tmp_path: Path, long_clip: Path) -> None:
    house = furnish(tmp_path, long_clip, "film.mp4", options=SLOW)
    (house.inbox / "notes.txt").write_text("not a film")
    house.start()
    house.see("segment 1 of 9 done")
    with house.standing_still():
        wait_until(lambda: json.loads(house.command("status", "--json").stdout)["workers"]["cpu"]["done"] > 8)
        picture = json.loads(house.command("status", "--json").stdout)
    assert picture["running"] is True
    assert picture["workers"]["cpu"]["segments"] == 9
    assert "notes.txt" in picture["folders"]["films"]["waiting"]
    assert house.stop() == 0
    down = house.command("status")
    assert down.returncode == 0 and "not running" in down.stdout
    started = time.monotonic()
    house.command("status")
    print(f"status took {time.monotonic() - started:.2f} s")
