import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE_S, patiently
from typer.testing import CliRunner, Result

from darkroom import __version__
from darkroom.daemon.cli import _drained, app
from darkroom.daemon.clock import unix_now
from darkroom.daemon.config import load
from darkroom.daemon.ending import FAULTY, LEFT, OK
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import EVERYTHING, FILE, Journal
from darkroom.daemon.setup import init
from darkroom.daemon.states import State

HEAVY = ("torch", "av", "watchdog", "apscheduler", "numpy", "sqlite_utils", "rapidocr", "diffusers")


class Desk:
    """A ready tree and the commands on it."""

    def __init__(self, root: Path) -> None:
        self.root, self.config = root, init(root)
        self.inbox, self.outbox, self.state = root / "inbox/upscale", root / "outbox/upscale", root / "state"

    def ask(self, *arguments: object) -> Result:
        """Run a command in this process."""
        result = CliRunner().invoke(app, ["--config", str(self.config), *map(str, arguments)])
        assert "Traceback" not in result.stderr
        return result

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as its user does."""
        command = [sys.executable, "-P", "-m", "darkroom", "--config", str(self.config), *arguments]
        environ = os.environ | environment
        return patiently(command, env=environ)

    def journal(self) -> Journal:
        return Journal(self.state / FILE)

    def queue(self, *names: bytes) -> None:
        signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
        with self.journal() as journal:
            for name in names:
                journal.enqueue([NewJob(folder="upscale", pipeline="upscale", path=name, signature=signature)], 1.0)

    def end(self, number: int, state: State) -> None:
        with self.journal() as journal:
            journal.note(number, priority=1)  # so that it is claimed before the others
            journal.claim(["upscale"], now=2.0, uptime=1.0, boot="b")
            journal.move(number, state, "as it went", now=2.0, detail="Traceback of it")

    def states(self) -> list[str]:
        with self.journal() as journal:
            return [str(job.state) for job in journal.jobs()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    before = os.umask(0o022)  # each command sets that of its configuration
    yield Desk(tmp_path / "house")
    os.umask(before)


# -- the command line itself ------------------------------------------------------------------------------------------


def test_help_and_version_need_no_configuration() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"darkroom {__version__}\n"
    text = CliRunner().invoke(app, ["--help"]).output
    commands = "run status jobs show add retry cancel hold release check init prune models"
    for command in commands.split():
        assert f"\n  {command} " in text
    assert "78 the configuration cannot" in " ".join(text.split())


@pytest.mark.parametrize("command", ["nonsense", "cancel", "show x", "jobs --state lost", "jobs --limit 0", "add x"])
def test_a_command_written_wrong_ends_with_2(desk: Desk, command: str) -> None:
    assert desk.ask(*command.split()).exit_code == 2


@pytest.mark.parametrize(
    "command",
    ["run", "status", "jobs", "check", "prune", "show 1", "cancel 1", "retry --failed", "hold --all", "release 1"],
)
def test_every_command_ends_with_78_and_all_faults_if_the_configuration_is_bad(desk: Desk, command: str) -> None:
    desk.config.write_text("folders: [{nam: x}]\nlog: {level: loud}\n")
    result = desk.ask(*command.split())
    assert result.exit_code == 78
    assert "folders.0.nam: unknown key; did you mean name?" in result.stderr and "log.level" in result.stderr
    assert result.stdout == ""


def test_the_configuration_may_come_from_the_environment(desk: Desk) -> None:
    result = CliRunner().invoke(app, ["check"], env={"DARKROOM_CONFIG": str(desk.config)})
    assert result.exit_code == 0, result.output


# -- reading ----------------------------------------------------------------------------------------------------------


def test_status_imports_nothing_heavy(desk: Desk) -> None:
    desk.queue(b"a.mkv")
    program = (
        "import sys\nfrom darkroom.daemon.cli import app\n"
        f"app(['--config', {str(desk.config)!r}, 'status'], standalone_mode=False)\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"
    assert "darkroom is not running" in result.stdout and "a.mkv" in result.stdout


def test_status_before_the_first_start_tells_of_the_folders_and_makes_nothing(desk: Desk) -> None:
    result = desk.ask("status")
    assert result.exit_code == 0
    assert "not running" in result.stdout and str(desk.inbox) in result.stdout
    assert list(desk.state.iterdir()) == []


def test_status_for_programs_is_one_document(desk: Desk) -> None:
    desk.queue(b"\xff\x1b.mkv")
    found = json.loads(desk.ask("status", "--json").stdout)
    assert found["running"] is False
    assert found["folders"]["upscale"]["jobs"] == {"queued": 1}


def test_watching_needs_a_terminal(desk: Desk) -> None:
    result = desk.ask("status", "--watch")
    assert result.exit_code == 2 and "needs a terminal" in result.stderr


def test_watching_shows_it_anew_until_ctrl_c_and_gives_the_terminal_back(desk: Desk) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-P", "-m", "darkroom", "--config", str(desk.config), "status", "--watch"]
    # Whoever runs the tests in the background has them, and what they start, ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        watching = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(theirs)
    shown = b""
    while shown.count(b"not running") < 2:
        shown += os.read(ours, 65536)
    watching.send_signal(signal.SIGINT)
    with suppress(OSError):  # the end of a terminal that nobody else has open
        while True:
            shown += os.read(ours, 65536)
    os.close(ours)
    assert watching.wait(PATIENCE_S) == 0
    assert shown.endswith(b"\x1b[?25h\x1b[?1049l"), "the cursor and the screen are as they were"


def test_no_colour_and_no_folding_in_a_pipe(desk: Desk) -> None:
    name = b"a-very-long-name" * 12 + b".mkv"
    desk.queue(name, b"[red]x\x1b[31m.mkv")
    result = desk.run("jobs")
    assert name.decode() in result.stdout and r"[red]x\x1b[31m.mkv" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_pipe_that_is_closed_early_is_no_crash(desk: Desk) -> None:
    desk.queue(*(b"%d.mkv" % number for number in range(50)))
    words = [sys.executable, "-P", "-m", "darkroom", "--config", str(desk.config), "jobs", "--json"]
    result = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} | head -c 10"], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[\n  {\n    " and "Traceback" not in result.stderr


def test_a_terminal_that_knows_ascii_only_is_no_crash(desk: Desk) -> None:
    desk.queue("größe.mkv".encode())
    result = desk.run("jobs", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert result.returncode == 0 and r"gr\xf6\xdfe.mkv" in result.stdout


def test_jobs_are_the_newest_first_and_can_be_chosen(desk: Desk) -> None:
    desk.queue(b"a.mkv", b"b.mkv", b"c.mkv")
    desk.end(2, State.FAILED)

    def names(*arguments: object) -> list[str]:
        return [job["name"] for job in json.loads(desk.ask("jobs", "--json", *arguments).stdout)]

    assert names() == ["c.mkv", "b.mkv", "a.mkv"]
    assert names("--limit", 2) == ["c.mkv", "b.mkv"]
    assert names("--state", "failed") == ["b.mkv"]
    assert names("--state", "failed", "--state", "queued", "--folder", "upscale") == ["c.mkv", "b.mkv", "a.mkv"]
    assert desk.ask("jobs", "--folder", "films").exit_code == 4


def test_show_tells_all_about_a_job(desk: Desk) -> None:
    desk.queue(b"a.mkv")
    desk.end(1, State.FAILED)
    text = desk.ask("show", 1).stdout
    for part in ("failed: as it went", str(desk.inbox / "a.mkv"), "attempt 1", "Traceback of it"):
        assert part in text
    assert json.loads(desk.ask("show", 1, "--json").stdout)["events"][-1]["detail"] == "Traceback of it"


@pytest.mark.parametrize("command", ["show 9", "cancel 9", "hold 9", "release 9", "retry 9"])
def test_an_unknown_job_ends_with_4_and_one_line(desk: Desk, command: str) -> None:
    desk.queue(b"a.mkv")
    result = desk.ask(*command.split())
    assert (result.exit_code, result.stderr) == (4, "there is no job 9; `darkroom jobs` lists them\n")


def test_a_journal_that_cannot_be_read_ends_with_69(desk: Desk) -> None:
    (desk.state / FILE).write_text("this is no database, and it is long enough to be read as one" * 20)
    for command in ("status", "jobs", "show 1", "cancel 1"):
        result = desk.ask(*command.split())
        assert result.exit_code == 69 and "damaged" in result.stderr


# -- asking -----------------------------------------------------------------------------------------------------------


def test_several_jobs_are_answered_one_by_one_and_the_exit_code_is_not_lost(desk: Desk) -> None:
    desk.queue(b"a.mkv", b"b.mkv", b"c.mkv")
    desk.end(2, State.FAILED)
    result = desk.ask("cancel", 1, 2, 3, 3)
    assert result.exit_code == 2
    assert result.stdout == "job 1 a.mkv: cancelled\njob 3 c.mkv: cancelled\n"
    assert result.stderr == "job 2 is failed and cannot become cancelled\n"
    assert desk.states() == ["cancelled", "failed", "cancelled"]


def test_hold_and_release_are_about_jobs_a_folder_or_everything(desk: Desk) -> None:
    desk.queue(b"a.mkv")
    assert desk.ask("hold", 1, "--reason", "guests").exit_code == 0
    assert desk.states() == ["held"]
    assert desk.ask("release", 1).exit_code == 0
    assert desk.ask("hold", "--folder", "upscale", "--reason", "heat").exit_code == 0
    assert desk.ask("hold", "--all").exit_code == 0
    with desk.journal() as journal:
        assert journal.holds() == {"upscale": "heat", EVERYTHING: "asked to hold"}
    assert "everything: released; still on hold: upscale" in desk.ask("release", "--all").stdout
    assert "on hold: heat" in desk.ask("status").stdout
    assert desk.ask("hold", "--folder", "films").exit_code == 4


@pytest.mark.parametrize("command", ["hold", "release", "retry", "hold 1 --all", "release 1 --all", "retry 1 --failed"])
def test_a_wish_must_say_what_it_is_about_and_only_once(desk: Desk, command: str) -> None:
    assert desk.ask(*command.split()).exit_code == 2


def test_retry_takes_jobs_or_all_that_failed(desk: Desk) -> None:
    desk.queue(b"a.mkv", b"b.mkv", b"c.mkv")
    for number, state in enumerate((State.FAILED, State.QUARANTINED, State.CANCELLED), 1):
        desk.end(number, state)
    assert desk.ask("retry", 3).exit_code == 0
    assert desk.states() == ["failed", "quarantined", "queued"]
    assert desk.ask("retry", "--failed", "--folder", "upscale").exit_code == 0
    assert desk.states() == ["queued", "queued", "queued"]
    assert desk.ask("retry", "--failed").stdout == ""


def test_a_file_is_added_with_options_of_its_own(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "film.mkv").write_bytes(b"film")
    options = ("--set", "scale=4", "--set", "preset=")
    assert desk.ask("add", tmp_path / "film.mkv", "--folder", "upscale", *options).exit_code == 0
    found = json.loads(desk.ask("show", 1, "--json").stdout)
    assert found["options"] == {"scale": 4, "preset": None}
    assert found["source"] == str(tmp_path / "film.mkv")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["film.mkv", "--folder", "films"], 4, "there is no folder 'films'"),
        (["film.mkv", "--folder", "upscale", "--set", "scale"], 2, "expected KEY=VALUE"),
        (["film.mkv", "--folder", "upscale", "--set", "scale=["], 2, "not usable YAML"),
        (["film.mkv", "--folder", "upscale", "--set", "scal=2"], 2, "did you mean scale?"),
        (["film.mkv", "--folder", "upscale", "--set", "scale=9"], 2, "scale: Input should be 2, 3 or 4"),
        (["notes.txt", "--folder", "upscale"], 2, ".txt is no source of upscale"),
        (["gone.mkv", "--folder", "upscale"], 69, "No such file"),
    ],
)
def test_what_cannot_be_added_is_refused_in_one_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(desk.root)
    (desk.root / "film.mkv").write_bytes(b"film")
    (desk.root / "notes.txt").write_bytes(b"text")
    result = desk.ask("add", *arguments)
    assert result.exit_code == code
    assert words in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (desk.state / FILE).exists() or desk.states() == []


# -- setting up -------------------------------------------------------------------------------------------------------


def test_init_makes_a_tree_that_is_well_and_is_not_made_twice(tmp_path: Path) -> None:
    first = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert first.exit_code == 0 and (tmp_path / "new/inbox/upscale").is_dir()
    second = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert second.exit_code == 2 and "stays as it is" in second.stderr
    result = CliRunner().invoke(app, ["--config", str(tmp_path / "new/config.yaml"), "check"])
    assert result.exit_code == 0 and "all is well" in result.stdout and "encoder=libx264" in result.stdout


def test_the_reference_configuration_is_well_in_a_fresh_checkout(tmp_path: Path) -> None:
    reference = Path(__file__).parents[2] / "config.yaml"
    (tmp_path / "config.yaml").write_bytes(reference.read_bytes())
    result = CliRunner().invoke(app, ["--config", str(tmp_path / "config.yaml"), "check"])
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_check_finds_an_inbox_that_is_another_and_adopts_it_when_told(desk: Desk) -> None:
    assert desk.ask("check", "--adopt", "upscale").exit_code == 0
    (desk.inbox / ".darkroom-inbox").unlink()
    result = desk.ask("check")
    assert result.exit_code == 69 and "check --adopt upscale" in result.stdout
    assert desk.ask("check", "--adopt", "upscale").exit_code == 0
    assert desk.ask("check").exit_code == 0
    assert desk.ask("check", "--adopt", "films").exit_code == 4


def test_prune_says_what_would_go_and_takes_it_when_meant(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = desk.state / "work/77/abc"
    stale.mkdir(parents=True)
    (stale / "000000.mkv").write_bytes(b"part")
    in_a_week = unix_now() + 7 * 86400
    monkeypatch.setattr("darkroom.daemon.cli.unix_now", lambda: in_a_week)
    assert "1 would go" in desk.ask("prune", "--dry-run").stdout
    assert stale.exists()
    assert "1 removed" in desk.ask("prune").stdout
    assert not stale.exists()


# -- run --------------------------------------------------------------------------------------------------------------


def test_a_drain_of_empty_inboxes_ends_with_0_and_is_soon_over(desk: Desk) -> None:
    result = desk.run("run", "--drain")
    assert result.returncode == 0, result.stderr
    assert desk.run("check").returncode == 0


def test_a_drain_with_a_folder_on_hold_ends_with_75_and_leaves_its_job(desk: Desk) -> None:
    (desk.inbox / "film.mkv").write_bytes(b"no film, but nobody looks")
    desk.ask("add", desk.inbox / "film.mkv", "--folder", "upscale")
    desk.ask("hold", "--all")
    result = desk.run("run", "--drain")
    assert result.returncode == 75, result.stderr
    assert desk.states() == ["queued"]


def test_a_state_folder_that_is_in_use_ends_with_69(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.daemon.lock.take_lock.__defaults__", (0.0,))
    with (desk.state / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = desk.ask("run", "--drain")
    assert result.exit_code == 69 and "another darkroom is running" in result.stderr


def test_a_state_folder_that_cannot_be_made_ends_with_69(desk: Desk) -> None:
    settings = yaml.safe_load(desk.config.read_text()) | {"state": "config.yaml/state"}
    desk.config.write_text(yaml.safe_dump(settings))
    result = desk.ask("run", "--drain")
    assert result.exit_code == 69 and "Not a directory" in result.stderr


def test_the_exit_code_of_a_drain_tells_what_is_worst_of_it_and_nothing_of_earlier_ones(desk: Desk) -> None:
    config = load(desk.config)
    config = config.model_copy(update={"disk": config.disk.model_copy(update={"work_reserve": 0, "outbox_reserve": 0})})
    desk.queue(b"a.mkv")
    with desk.journal() as journal:
        assert _drained(config, journal, 0) == LEFT
        journal.move(1, State.HELD, "asked to hold", now=2.0)
        assert _drained(config, journal, 0) == LEFT, "a job on hold is left too"
        journal.move(1, State.QUEUED, "released", now=3.0)
    desk.end(1, State.FAILED)
    with desk.journal() as journal:
        assert _drained(config, journal, 0) == FAULTY
        assert _drained(config, journal, journal.last_event()) == OK


def test_a_number_beyond_all_jobs_is_no_bug_and_a_missing_file_is_named_as_it_was_typed(desk: Desk) -> None:
    desk.queue(b"a.mkv")
    result = desk.ask("show", "99999999999999999999")
    assert result.exit_code == 4 and "there is no job 99999999999999999999" in result.stderr
    result = desk.ask("add", "gone.mkv", "--folder", "upscale")
    assert result.exit_code == 69 and result.stderr.startswith("gone.mkv: No such file")
