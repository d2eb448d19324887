"""The service under a real systemd, from README's commands to the last stop: one boot, then test after test in it.

Shortened by drop-ins: RestartSec everywhere; WatchdogSec and TimeoutStopSec where a test waits for them.
"""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from house import House, cut_clip, wait_until
from installed import SHARE, Service, readme_commands

from darkroom.daemon.lock import is_taken
from darkroom.pipelines.upscale.models import MODELS

FILM_OPTIONS = "model: fast\nsegment_frames: 8\n"
WEIGHTS = MODELS["fast"].file


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_clip(tmp_path_factory.mktemp("clip") / "film.mp4")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, film: Path) -> bytes:
    """What becomes of the film on this machine, without systemd and a sandbox."""
    house = House(tmp_path_factory.mktemp("calm") / "house", {"threads": len(os.sched_getaffinity(0))})
    (house.inbox / "film.mp4").write_bytes(film.read_bytes())
    assert house.drain() == 0
    return house.results()["film.mp4"]


def drop(service: Service, film: Path) -> None:
    """Drop the film as a member of the group does."""
    (service.machine.root / "tmp/film.mp4").write_bytes(film.read_bytes())
    inbox = f"/{SHARE}/inbox/upscale"
    words = f"echo '{FILM_OPTIONS}' > {inbox}/film.mp4.yaml; cp /tmp/film.mp4 {inbox}/film.mp4"
    service.machine.run("sh", "-c", words, user="alice")


def result(service: Service) -> Path:
    return service.machine.root / SHARE / "outbox/upscale/film.mp4"


# -- the installation ------------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme_make_user_folders_and_a_service_that_runs(machine_service: Service) -> None:
    service = machine_service
    machine, root = service.machine, service.machine.root
    user, group = machine.run("id", "-u", "darkroom").stdout, machine.run("id", "-g", "darkroom").stdout
    assert "darkroom" in machine.run("id", "-Gn", "alice").stdout
    for place in ("inbox/upscale", "inbox/ocr", "inbox/animate", "outbox/upscale", "originals"):
        found = (root / SHARE / place).stat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o2775, int(user), int(group)), place
    state = service.state.stat()
    assert (state.st_mode & 0o7777, state.st_uid, state.st_gid) == (0o750, int(user), int(group))
    assert service.show("UnitFileState") == "enabled"
    assert service.show("ActiveState") == "active"
    assert {Path(f"/proc/{number}").stat().st_uid for number in service.processes()} == {int(user)}
    assert "upscale" in machine.run("darkroom", "status", user="darkroom").stdout
    security = machine.run("systemd-analyze", "security", "--no-pager", "darkroom").stdout
    print(security.strip().splitlines()[-1])
    assert float(re.findall(r"exposure level for darkroom.service: ([\d.]+)", security)[0]) <= 2.0


def test_the_start_is_over_when_lock_and_journal_are_there_and_not_before(service: Service) -> None:
    service.hold("lock")
    service.hold("folders.json")
    mark = service.now()
    service.systemctl("start", "--no-block")
    service.see("held before open lock", mark)
    assert (service.show("ActiveState"), service.show("SubState")) == ("activating", "start")
    assert not is_taken(service.state) and not (service.state / "journal.db").exists()
    service.let_go("lock")
    service.see("held before open folders.json", mark)
    assert (service.show("ActiveState"), service.show("SubState")) == ("activating", "start")
    assert is_taken(service.state) and (service.state / "journal.db").exists()
    service.let_go("folders.json")
    service.wait("ActiveState", "active")
    service.wait("StatusText", ".*idle.*")
    assert service.show("StatusText") in service.systemctl("status", "--no-pager").stdout


def test_the_service_of_one_user_does_the_same(machine_service: Service, film: Path, undisturbed: bytes) -> None:
    machine, home = machine_service.machine, "/home/alice"
    program = f"mkdir -p {home}/.local/share; ln -sfn /opt/darkroom {home}/.local/share/darkroom"
    number = machine.run("id", "-u", "alice").stdout.strip()
    machine.run("sh", "-c", f"{program}; chown -R alice: {home}")
    if machine.run(
        "sh", "-c", f"loginctl enable-linger alice && systemctl start user@{number}", check=False
    ).returncode:
        pytest.skip("no systemd for users runs here; it takes dbus and libpam-systemd")

    def run(words: str) -> str:
        enter = f"set -eux; export XDG_RUNTIME_DIR=/run/user/{number}; cd /opt/checkout\n"
        return machine.run("bash", user="alice", words=enter + words).stdout

    commands = [line for line in readme_commands("Of one user") if not line.startswith("loginctl")]  # done
    run("\n".join(["~/.local/share/darkroom/bin/darkroom init ~/darkroom", *commands]))
    (machine.root / "tmp/film.mp4").write_bytes(film.read_bytes())
    run(f"echo '{FILM_OPTIONS}' > ~/darkroom/inbox/upscale/film.mp4.yaml; cp /tmp/film.mp4 ~/darkroom/inbox/upscale")
    found = machine.root / home[1:] / "darkroom/outbox/upscale/film.mp4"
    wait_until(found.exists)
    assert found.read_bytes() == undisturbed
    run("systemctl --user stop darkroom")
    assert run("systemctl --user show darkroom -P ActiveState").strip() == "inactive"
    assert run("systemctl --user show darkroom -P Result").strip() == "success"


# -- a film, disturbed -----------------------------------------------------------------------------------------------


def test_a_film_comes_out_as_without_a_sandbox_and_belongs_to_the_group(
    service: Service, film: Path, undisturbed: bytes
) -> None:
    service.systemctl("start")
    service.hold("000001.mp4")
    mark = service.now()
    drop(service, film)
    service.see("held before os.rename 000001.mp4", mark)
    service.wait("StatusText", ".*film.mp4: segment 2 of 5.*")
    print(service.show("StatusText"))
    service.let_go()
    service.see("done: published as film.mp4", mark)
    assert result(service).read_bytes() == undisturbed
    machine = service.machine
    path = f"/{SHARE}/outbox/upscale/film.mp4"
    assert machine.run("stat", "-c", "%U %G %a", path).stdout.split() == ["darkroom", "darkroom", "664"]
    machine.run("mv", path, "/tmp/taken.mp4", user="alice")


def test_a_film_whose_worker_and_daemon_are_killed_and_stopped_comes_out_the_same(
    service: Service, film: Path, undisturbed: bytes
) -> None:
    first = service.now()
    service.configure("TimeoutStopSec=15")
    service.systemctl("start")
    service.hold(WEIGHTS)
    drop(service, film)
    service.see(f"held before open {WEIGHTS}", first)
    service.systemctl("stop", "--no-block")  # while the model is loaded
    service.see("stopping, once the running segment is finished", first)
    service.let_go(WEIGHTS)
    service.wait("ActiveState", "inactive")
    assert service.show("Result") == "success" and service.jobs() == {"film.mp4": "queued"}
    assert not list(service.state.glob("work/*/*/*.mp4"))

    service.hold("000001.mp4")
    mark = service.now()
    service.systemctl("start")
    daemon = service.show("MainPID")
    service.see("held before os.rename 000001.mp4", mark)
    (worker,) = service.workers()
    mark = service.now()
    os.kill(worker, signal.SIGKILL)
    service.see("the worker was ended by SIGKILL", mark)
    service.see("held before os.rename 000001.mp4", mark)
    assert service.show("MainPID") == daemon and service.show("NRestarts") == "0"

    (worker,) = service.workers()
    mark = service.now()
    service.systemctl("kill", "--kill-whom=main", "--signal=KILL")
    service.see("code=killed, status=9/KILL", mark)
    service.see("held before os.rename 000001.mp4", mark)
    assert not Path(f"/proc/{worker}").exists() and service.show("MainPID") != daemon
    assert service.show("NRestarts") == "1"

    service.hold("000002.mp4")
    service.let_go("000001.mp4")
    service.see("held before os.rename 000002.mp4", first)
    service.systemctl("stop", "--no-block")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 17)  # longer than TimeoutStopSec: the daemon has asked for more
    assert service.show("ActiveState") == "deactivating"
    service.let_go()
    service.wait("ActiveState", "inactive")
    assert service.show("Result") == "success"
    assert len(list(service.state.glob("work/*/*/0*.mp4"))) == 3

    service.systemctl("start")
    service.see("done: published as film.mp4", first)
    for number in range(1, 6):
        done = f"film.mp4 segment {number} of 5 done"
        assert sum(done in line.words for line in service.lines[first:]) == 1, "a finished segment was made again"
    assert result(service).read_bytes() == undisturbed


# -- stops, restarts and a main loop that hangs ----------------------------------------------------------------------


def test_a_main_loop_that_hangs_is_ended_by_the_watchdog_and_its_job_goes_on(service: Service) -> None:
    mark = service.now()
    service.paint("WatchdogSec=3", strokes=3)
    service.see("started on cpu", mark)
    service.hold("live.json")
    (service.machine.root / SHARE / "inbox/animate/notes.txt").touch()  # something new to tell
    service.see("held before os.rename live.json", mark)
    service.see("Watchdog timeout", mark)
    service.let_go()
    service.go()
    assert service.painted() == 3 * "a wall\n"
    assert int(service.show("NRestarts")) >= 1
    service.wait("ActiveState", "active")


def test_restarts_in_a_loop_with_a_segment_that_does_not_end_cost_nothing(service: Service) -> None:
    service.paint(worker={"drain": 0.2})  # a stop ends the worker after that
    for _ in range(6):
        mark = service.now()
        service.systemctl("restart")
        service.see("wall.png started on cpu", mark)
    service.go()
    assert service.painted() == 2 * "a wall\n"
    wait_until(lambda: service.jobs() == {"wall.png": "done"})
    assert service.show("NRestarts") == "0", "asked for, not for a failure"


def test_a_second_sigterm_ends_a_stop_that_waits(service: Service) -> None:
    mark = service.now()
    service.paint()
    service.wait("StatusText", ".*segment 1 of 2.*")
    service.systemctl("stop", "--no-block")
    service.see("a second signal stops at once", mark)
    assert service.show("ActiveState") == "deactivating"
    service.systemctl("kill", "--signal=TERM", "--kill-whom=main")
    service.wait("ActiveState", "inactive")
    assert service.show("Result") == "success"
    assert service.jobs() == {"wall.png": "queued"}
