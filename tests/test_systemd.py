"""The units as systemd reads them, and whether they and the program mean the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import patiently

from darkroom.daemon.config import load
from darkroom.daemon.supervisor import EXTEND_S, PULSE_S
from darkroom.daemon.units import seconds

SYSTEMD = Path(__file__).parent.parent / "systemd"
SYSTEM, USER = SYSTEMD / "darkroom.service", SYSTEMD / "darkroom.user.service"
PROGRAMS = {SYSTEM: "/opt/darkroom/bin/darkroom", USER: "%h/.local/share/darkroom/bin/darkroom"}

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="users and folders are made by root only")


def settings(unit: Path) -> dict[str, str]:
    """Read `unit`; each key of ours occurs once, which systemd does not demand."""
    lines = [line for line in unit.read_text().splitlines() if line and line[0] not in "#;["]
    pairs = [(key, value) for key, _, value in (line.partition("=") for line in lines)]
    assert len(dict(pairs)) == len(pairs), "a key occurs twice"
    return dict(pairs)


def analyze(*arguments: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "info"}
    command = ["systemd-analyze", "--no-pager", *arguments]
    return patiently(command, env=environ)


def copied(unit: Path, tmp_path: Path, **changes: str) -> str:
    """Copy `unit` with a program that is on this machine, for systemd looks whether it can be run."""
    text = unit.read_text().replace(PROGRAMS[unit], f'"{sys.executable}"')
    for key, value in changes.items():
        text = text.replace(f"\n{key}=", f"\n{value}=")
    copy = tmp_path / "darkroom.service"
    copy.write_text(text)
    return str(copy)


@needs_analyze
@pytest.mark.parametrize(("unit", "manager"), [(SYSTEM, "--system"), (USER, "--user")])
def test_systemd_finds_no_fault_in_the_unit(unit: Path, manager: str, tmp_path: Path) -> None:
    verdict = analyze("verify", "--man=no", manager, copied(unit, tmp_path), tmp_path=tmp_path)
    assert verdict.returncode == 0, verdict.stderr
    assert "darkroom.service" not in verdict.stderr


@needs_analyze
def test_a_misspelt_key_would_be_found(tmp_path: Path) -> None:
    unit = copied(SYSTEM, tmp_path, WatchdogSec="WatchDogSecs")
    assert "WatchDogSecs" in analyze("verify", "--man=no", unit, tmp_path=tmp_path).stderr


@needs_analyze
def test_the_service_can_reach_little_of_the_machine(tmp_path: Path) -> None:
    unit = copied(SYSTEM, tmp_path)
    verdict = analyze("security", "--offline=true", "--threshold=20", unit, tmp_path=tmp_path)
    assert verdict.returncode == 0, verdict.stdout
    stricter = analyze("security", "--offline=true", "--threshold=5", unit, tmp_path=tmp_path)
    assert stricter.returncode == 1, "the threshold decides nothing"


@pytest.mark.parametrize(
    "breaks_torch", ["MemoryDenyWriteExecute", "ProcSubset", "PrivateDevices", "PrivateUsers", "DynamicUser"]
)
@pytest.mark.parametrize("unit", [SYSTEM, USER])
def test_nothing_is_set_that_breaks_torch_or_shares(unit: Path, breaks_torch: str) -> None:
    assert breaks_torch not in settings(unit)
    assert "~" not in settings(unit)["SystemCallFilter"]


def test_both_units_live_and_die_alike() -> None:
    keys = "Type NotifyAccess ExecReload WatchdogSec TimeoutStartSec TimeoutStopSec KillMode Restart RestartSec"
    keys += " RestartPreventExitStatus OOMPolicy StartLimitIntervalSec SyslogLevel"
    system, user = settings(SYSTEM), settings(USER)
    assert {key: system[key] for key in keys.split()} == {key: user[key] for key in keys.split()}


def test_the_daemon_is_heard_in_time() -> None:
    unit = settings(SYSTEM)
    assert seconds(unit["WatchdogSec"]) > PULSE_S * 10
    assert PULSE_S * 10 < EXTEND_S, "the wish for more time must come again before it is over"
    assert seconds(unit["TimeoutStopSec"]) >= EXTEND_S


@pytest.mark.parametrize("unit", [SYSTEM, USER])
def test_the_unit_starts_the_program_at_the_place_of_the_readme(unit: Path) -> None:
    program, *arguments = settings(unit)["ExecStart"].split()
    assert program == PROGRAMS[unit]
    assert program.replace("%h", "~") in (SYSTEMD.parent / "README.md").read_text()
    assert [arguments[0], arguments[2]] == ["--config", "run"]


def test_every_path_of_the_service_can_be_written_to() -> None:
    unit, config = settings(SYSTEM), load(SYSTEMD / "config.yaml")
    assert config.state == Path("/var/lib") / unit["StateDirectory"]
    open_folders = [Path(folder.removeprefix("-")) for folder in unit["ReadWritePaths"].split()]
    for folder in config.folders:
        for path in (folder.inbox, folder.outbox, folder.originals_folder):
            assert path is not None
            assert any(writable in path.parents for writable in open_folders), path
        assert folder.report_folder is not None
        assert config.state in folder.report_folder.parents


def test_the_folders_of_the_service_are_made_by_tmpfiles() -> None:
    made = {line.split()[1] for line in rows("darkroom.tmpfiles")}
    for folder in load(SYSTEMD / "config.yaml").folders:
        assert {str(folder.inbox), str(folder.outbox)} <= made


def test_the_user_of_the_service_is_made_by_sysusers() -> None:
    unit = settings(SYSTEM)
    (line,) = rows("darkroom.sysusers")
    assert line.split()[1] == unit["User"] == unit["Group"]
    assert line.split()[-1] == f"/var/lib/{unit['StateDirectory']}"


@needs_root
@pytest.mark.skipif(not shutil.which("systemd-tmpfiles"), reason="systemd-tmpfiles is not installed")
def test_users_and_folders_come_out_as_meant(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for program, unit in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles --create", "tmpfiles")):
        command = [*program.split(), f"--root={tmp_path}", str(SYSTEMD / f"darkroom.{unit}")]
        patiently(command, check=True)
    assert "darkroom:x:" in (tmp_path / "etc" / "passwd").read_text()
    for name in ("inbox/upscale", "outbox/upscale", "originals"):
        assert (tmp_path / "srv" / "darkroom" / name).stat().st_mode & 0o7777 == 0o2775


def rows(name: str) -> list[str]:
    return [line for line in (SYSTEMD / name).read_text().splitlines() if line and not line.startswith("#")]
