"""The whole daemon, as its user meets it: policies, wishes, reasons, and what it does when things go wrong."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import BUNNY, House, cut_clip, wait_until
from workshop import Workshop


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_clip(tmp_path_factory.mktemp("clip") / "film.mp4", 24)


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


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """A house whose jobs take as long as a test wishes."""
    return Workshop(tmp_path / "shop", {"drain": 1, "retry_delays": ["0.1 s"]})


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


def test_cancel_hold_release_and_retry_reach_a_running_daemon(shop: Workshop) -> None:
    go_on = shop.root / "go-on"
    shop.put("nail", "first", f"silent {go_on}", "last")
    shop.start()
    shop.see("segment 1 of 3 done")
    assert shop.command("cancel", "1").returncode == 0
    go_on.touch()
    shop.see("cancelled: asked to cancel")
    wait_until(lambda: shop.strays() == [])
    go_on.unlink()
    assert shop.command("hold", "--folder", "iron", "--reason", "guests").returncode == 0
    assert shop.command("retry", "1").returncode == 0
    shop.see("no job starts: on hold: guests")
    assert states(shop) == {"nail.txt": "queued"}
    mark = len(shop.lines)
    assert shop.command("release", "--folder", "iron").returncode == 0
    shop.see("started on", mark)
    shop.see("segment 1 of 3 done", mark)
    assert shop.command("hold", "1").returncode == 0
    go_on.touch()
    shop.see("held: asked to hold", mark)
    assert shop.command("release", "1").returncode == 0
    shop.see("of 3 segments to do", mark)
    shop.see("done: published as nail.out", mark)
    assert shop.stop() == 0


def test_a_file_that_changes_while_it_runs_is_developed_in_its_new_version_only(shop: Workshop) -> None:
    go_on = shop.root / "go-on"
    shop.put("nail", "first", f"silent {go_on}", "last")
    shop.start()
    shop.see("segment 1 of 3 done")
    (shop.inbox / ".new").write_text("another")
    (shop.inbox / ".new").rename(shop.inbox / "nail.txt")
    go_on.touch()
    shop.see("1 of 1 segments to do")
    shop.see("done: published as nail.out")
    assert shop.stop() == 0
    assert shop.results() == {"nail.out": b"ANOTHER\n"}
    assert len([line for line in shop.lines if "cancelled" in line]) == 1


def test_an_inbox_whose_marker_is_gone_is_offline_and_nothing_is_concluded(tmp_path: Path, clip: Path) -> None:
    house = furnish(tmp_path, clip, "a.mp4")
    assert house.drain() == 0
    house.inbox.rename(tmp_path / "unmounted")
    house.inbox.mkdir()
    shutil.copy(clip, house.inbox / "b.mp4")
    assert house.drain() == 75
    assert any("marker .darkroom-inbox is missing" in line for line in house.lines)
    assert list(states(house)) == ["a.mp4"]


def test_an_outbox_that_is_away_gets_nothing_and_the_job_waits_for_it(shop: Workshop) -> None:
    go_on = shop.root / "go-on"
    shop.put("nail", "first", f"silent {go_on}")
    shop.start()
    shop.see("segment 1 of 2 done")
    shop.outbox.rename(shop.root / "unmounted")
    shop.outbox.mkdir()
    go_on.touch()
    shop.see("waits for it")  # the result is there and has nowhere to go
    shop.see("iron: no job starts")
    assert list(shop.outbox.iterdir()) == []
    shop.outbox.rmdir()
    (shop.root / "unmounted").rename(shop.outbox)
    assert shop.stop() == 0
    assert shop.drain() == 0
    assert list(shop.results()) == ["nail.out"]


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


def test_status_tells_what_runs_and_why_files_wait_with_the_daemon_up_and_down(shop: Workshop) -> None:
    shop.put("nail", "first", f"silent {shop.root / 'never'}")
    (shop.inbox / "notes.doc").write_text("not iron")
    shop.start()
    shop.see("segment 1 of 2 done")
    wait_until(lambda: json.loads(shop.command("status", "--json").stdout)["workers"]["cpu"]["done"] == 1)
    picture = json.loads(shop.command("status", "--json").stdout)
    assert picture["running"] is True
    assert picture["workers"]["cpu"]["segments"] == 2
    assert "notes.doc" in picture["folders"]["iron"]["waiting"]
    assert shop.stop() == 0
    down = shop.command("status")
    assert down.returncode == 0 and "not running" in down.stdout
