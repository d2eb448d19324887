"""The service when what is around it is at fault: configuration, journald, systemd, a share; and its sandbox.

One boot for all; RestartSec is shortened by a drop-in.
"""

import json
import os
import re
from pathlib import Path

import yaml
from booted import PYTHON
from house import wait_until
from installed import CONFIG, STUDIO, Service

CAP_LEASE = 28  # capability.h
FILL = """
import socket
sent = 1
while sent:  # each socket may have some words on their way; all is full when a new one may have none
    sent, door = 0, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        while sent := sent + door.sendto(b"STATUS=noise", "/run/systemd/notify"):
            pass
    except BlockingIOError:
        pass
"""


# -- the configuration -----------------------------------------------------------------------------------------------


def test_a_faulty_configuration_ends_with_78_names_all_faults_and_is_not_started_again(service: Service) -> None:
    config = service.machine.root / CONFIG
    good, mark = config.read_text(), service.now()
    config.write_text(good.replace("pipeline: ocr", "pipeline: ocr\n    setle: 2") + "umask: '1777'\n")
    assert service.systemctl("start", check=False).returncode != 0
    assert (service.show("ActiveState"), service.show("SubState")) == ("failed", "failed")  # else: auto-restart
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("78", "0")
    warnings = service.machine.run("journalctl", "--unit=darkroom", "--priority=warning", "--output=cat").stdout
    assert "folders.1.setle: unknown key; did you mean settle?" in warnings
    assert "umask: " in warnings
    assert not any("Scheduled restart" in line.words for line in service.lines[mark:])
    config.write_text(good)
    service.systemctl("start")


def test_a_reload_with_a_faulty_configuration_keeps_the_old_one(service: Service) -> None:
    service.paint()
    config, pid, mark = service.machine.root / CONFIG, service.show("MainPID"), service.now()
    good = config.read_text()
    config.write_text("folders: [half of")
    service.systemctl("reload")
    assert service.see("going on with the configuration as it was", mark).priority == 3
    assert (service.show("ActiveState"), service.show("MainPID")) == ("active", pid)
    config.write_text(good.replace("a wall", "a door"))
    service.systemctl("reload")
    service.see("is in force", mark)
    service.go()
    assert service.painted() == 2 * "a door\n"
    assert service.show("MainPID") == pid


# -- what is said, and to whom ---------------------------------------------------------------------------------------


def test_lines_have_the_priority_of_what_they_say(service: Service) -> None:
    mark = service.now()
    service.paint(broken=True)
    service.go()
    assert service.see("wall.png failed: a bug in Darkroom", mark).priority == 4
    assert service.see("wall.png started on cpu", mark).priority == 6
    ours = [line for line in service.lines[mark:] if line.by == "darkroom"]
    assert not any(line.words.startswith("<") for line in ours)
    urgent = service.machine.run("journalctl", "--unit=darkroom", "--priority=warning", "--output=cat").stdout
    assert "a bug in Darkroom" in urgent and "started on cpu" not in urgent


def test_with_its_standard_streams_closed_it_works_and_gives_their_numbers_to_no_file(service: Service) -> None:
    close = "/bin/sh -c 'exec \"$$@\" <&- >&- 2>&-' sh"
    service.paint(f"ExecStart=\nExecStart={close} {STUDIO} --config /{CONFIG} run")
    service.wait("StatusText", ".*segment 1 of 2.*")
    assert len(service.processes()) == 2
    streams = [Path(f"/proc/{process}/fd/{number}") for process in service.processes() for number in range(3)]
    assert {stream.readlink() for stream in streams} == {Path("/dev/null")}
    service.go()
    assert service.painted() == 2 * "a wall\n"


def test_work_goes_on_while_journald_hangs_and_what_was_said_is_read_later(service: Service) -> None:
    mark = service.now()
    service.paint()
    service.see("wall.png started on cpu", mark)
    machine = service.machine
    with service.hanging(machine.process("systemd-journald")):
        service.go()
        assert service.painted() == 2 * "a wall\n"
        wait_until(lambda: service.jobs() == {"wall.png": "done"})
        assert not any("done: published" in line.words for line in service.lines[mark:])
    service.see("done: published", mark)
    machine.run("systemctl", "restart", "systemd-journald")
    mark = service.now()
    service.systemctl("reload")
    service.see("is in force", mark)


def test_work_goes_on_while_systemd_hears_nothing_and_the_end_of_the_start_is_told_again(service: Service) -> None:
    machine, mark = service.machine, service.now()
    service.hold("folders.json")
    service.go()
    service.paint(start=["--no-block"])
    service.see("held before open folders.json", mark)
    with service.hanging(machine.first()):
        machine.run(PYTHON, words=FILL)
        service.let_go()
        assert service.painted() == 2 * "a wall\n"
        machine.run(PYTHON, words=FILL)
    service.wait("ActiveState", "active")
    service.wait("StatusText", ".*idle.*")
    assert service.show("NRestarts") == "0"


# -- the sandbox -----------------------------------------------------------------------------------------------------


def test_the_sandbox_refuses_what_the_service_needs_not_and_torch_has_all_cores(service: Service) -> None:
    machine = service.machine
    machine.run("sh", "-c", "mkdir -m 777 -p /etc/open /opt/open; echo > /etc/open/hers; chown alice /etc/open/hers")
    unit = (machine.root / "etc/systemd/system/darkroom.service").read_text()
    unit = re.sub("ExecStart=.*", f"ExecStart={PYTHON} /opt/studio/sandbox.py /etc/open /etc/open/hers", unit)
    unit = unit.replace("Type=notify", "Type=oneshot")
    (machine.root / "run/systemd/system/sandbox.service").write_text(unit)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "sandbox")
    found = json.loads(machine.run("journalctl", "--unit=sandbox", "--output=cat", "--grep=^{").stdout)
    assert found == {
        "write outside": "EROFS",
        "write to the program": "EROFS",
        "read a home": "EACCES",
        "see another process": "ENOENT",
        "reach the network": "EAFNOSUPPORT",
        "make a namespace": "EPERM",
        "set the clock": "EPERM",
        "make a program of another user": "EPERM",
        "write to the share": "done",
        "write to the state": "done",
        "lease another user's file": "done",
        "rights": 1 << CAP_LEASE,
        "nice": 10,
        "cores": len(os.sched_getaffinity(0)),
        "torch": {"torch.float32": 72.0, "torch.bfloat16": 72.0, "threads": len(os.sched_getaffinity(0))},
    }


def test_a_share_that_is_missing_stops_no_start_and_is_used_once_it_is_there(service: Service) -> None:
    machine, mark = service.machine, service.now()
    config = machine.root / CONFIG
    settings = yaml.safe_load(config.read_text()) | {"watch": {"scan_local": 1}}
    settings["folders"][2] |= {"inbox": "/mnt/films/in", "outbox": "/mnt/films/out"}
    config.write_text(yaml.safe_dump(settings))
    service.configure("ReadWritePaths=-/mnt/films")
    service.systemctl("start")
    service.see("upscale: jobs may start", mark)
    print(service.see("animate: no job starts", mark))
    machine.run(
        "sh", "-c", "mkdir -p /mnt/films /var/films; chown darkroom /var/films; mount --bind /var/films /mnt/films"
    )
    service.see("animate: jobs may start", mark)
    assert machine.run("ls", "-A", "/var/films/in", "/var/films/out").stdout.count(".darkroom-") == 2
    mark = service.now()
    machine.run("umount", "/mnt/films")
    print(service.see("animate: no job starts", mark))
    assert machine.run("ls", "-A", "/mnt/films").stdout == ""
    machine.run("mount", "--bind", "/var/films", "/mnt/films")
    service.see("animate: jobs may start", mark)
    machine.run("umount", "/mnt/films")
